package org.apache.catalina;

public enum LifecycleState {
    NEW;

    public boolean isAvailable() {
        return false;
    }
}
