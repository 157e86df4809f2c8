package dev.barge;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.springframework.boot.context.event.ApplicationEnvironmentPreparedEvent;
import org.springframework.context.ApplicationListener;
import org.springframework.core.env.EnumerablePropertySource;
import org.springframework.core.env.MapPropertySource;
import org.springframework.core.env.MutablePropertySources;
import org.springframework.core.env.PropertySource;

/**
 * Gives a Spring Boot application Barge's settings as default properties, below everything else: there is no file, variable or option of
 * Spring Boot that would be read before the application's own application.properties and still lose against them.
 */
public final class SpringDefaults implements ApplicationListener<ApplicationEnvironmentPreparedEvent> {
    private static final String NAME = "defaultProperties";

    @Override
    public void onApplicationEvent(ApplicationEnvironmentPreparedEvent event) {
        Properties ours = new Properties();
        try {
            InputStream in = SpringDefaults.class.getResourceAsStream("/spring-defaults.properties");
            ours.load(in);
            in.close();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        Map<String, Object> all = new HashMap<String, Object>();
        for (String name : ours.stringPropertyNames()) {
            all.put(name, ours.getProperty(name));
        }
        MutablePropertySources sources = event.getEnvironment().getPropertySources();
        PropertySource<?> theirs = sources.remove(NAME);
        if (theirs instanceof EnumerablePropertySource) {
            for (String name : ((EnumerablePropertySource<?>) theirs).getPropertyNames()) {
                all.put(name, theirs.getProperty(name));
            }
        }
        sources.addLast(new MapPropertySource(NAME, all));
    }
}
