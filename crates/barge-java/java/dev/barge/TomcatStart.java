package dev.barge;

import org.apache.catalina.Container;
import org.apache.catalina.Host;
import org.apache.catalina.Lifecycle;
import org.apache.catalina.LifecycleEvent;
import org.apache.catalina.LifecycleListener;

/**
 * Ends Tomcat when an application could not be started. Left alone, Tomcat goes on without it and answers every request with 404, which to
 * a readiness check is an answer.
 */
public final class TomcatStart implements LifecycleListener {
    @Override
    public void lifecycleEvent(LifecycleEvent event) {
        if (!Lifecycle.AFTER_START_EVENT.equals(event.getType()) || !(event.getLifecycle() instanceof Host)) {
            return;
        }
        Container[] applications = ((Host) event.getLifecycle()).findChildren();
        if (applications.length == 0) {
            end("the application could not be deployed");
        }
        for (Container application : applications) {
            if (!application.getState().isAvailable()) {
                String path = application.getName().isEmpty() ? "/" : application.getName();
                end("the application at " + path + " could not be started");
            }
        }
    }

    /** Without shutdown hooks, which would wait for the start that is going on, which waits for us. */
    private static void end(String why) {
        System.out.flush();
        System.err.println("barge: " + why + "; Tomcat says above why, and would answer 404 to everything");
        System.err.flush();
        Runtime.getRuntime().halt(1);
    }
}
