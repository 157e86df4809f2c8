package org.apache.catalina;

public abstract class LifecycleEvent {
    public abstract Lifecycle getLifecycle();

    public abstract String getType();
}
