package example.till;

import java.util.Map;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

@RestController
class Receipts {
    private final String shutdown;

    Receipts(@Value("${server.shutdown:unsaid}") String shutdown) {
        this.shutdown = shutdown;
    }

    @GetMapping("/receipt")
    Map<String, Object> receipt() {
        return Map.of("total", 12, "shutdown", shutdown);
    }
}
