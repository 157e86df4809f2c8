package org.springframework.core.env;

public class MutablePropertySources {
    public void addLast(PropertySource<?> source) {}

    public PropertySource<?> remove(String name) {
        return null;
    }
}
