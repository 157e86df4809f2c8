package example.web;

import example.words.Words;
import java.util.Map;
import java.util.TreeMap;
import org.apache.commons.lang3.StringUtils;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

@RestController
class Greetings {
    private static final String VERSION = "one";

    private final String name;
    private final String shutdown;

    Greetings(@Value("${greeting.name:world}") String name, @Value("${server.shutdown:unsaid}") String shutdown) {
        this.name = name;
        this.shutdown = shutdown;
    }

    @GetMapping("/greeting")
    String greeting() {
        return Words.greet(StringUtils.capitalize(name)) + ", from version " + VERSION;
    }

    /** What this JVM has been given. */
    @GetMapping("/jvm")
    Map<String, Object> jvm() {
        Map<String, Object> told = new TreeMap<>();
        told.put("heap", Runtime.getRuntime().maxMemory());
        told.put("processors", Runtime.getRuntime().availableProcessors());
        told.put("shutdown", shutdown);
        return told;
    }
}
