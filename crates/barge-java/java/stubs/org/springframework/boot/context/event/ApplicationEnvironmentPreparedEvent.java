package org.springframework.boot.context.event;

import org.springframework.context.ApplicationEvent;
import org.springframework.core.env.ConfigurableEnvironment;

public abstract class ApplicationEnvironmentPreparedEvent extends ApplicationEvent {
    public abstract ConfigurableEnvironment getEnvironment();
}
