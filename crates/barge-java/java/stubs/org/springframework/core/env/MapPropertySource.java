package org.springframework.core.env;

import java.util.Map;

public class MapPropertySource extends EnumerablePropertySource<Map<String, Object>> {
    public MapPropertySource(String name, Map<String, Object> source) {}

    @Override
    public String[] getPropertyNames() {
        return null;
    }

    @Override
    public Object getProperty(String name) {
        return null;
    }
}
