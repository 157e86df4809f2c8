package example.shop;

import com.fasterxml.jackson.databind.ObjectMapper;
import jakarta.servlet.annotation.WebServlet;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.io.InputStream;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.commons.text.WordUtils;

/** Says which version of the shop this is, and what its JVM has been given. */
@WebServlet("/orders")
public class Orders extends HttpServlet {
    private static final String VERSION = "one";
    private static final ObjectMapper JSON = new ObjectMapper();

    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
        Map<String, Object> told = new TreeMap<>();
        told.put("heap", Runtime.getRuntime().maxMemory());
        told.put("shop", WordUtils.capitalize(settings().getProperty("name")));
        told.put("version", VERSION);
        response.setContentType("application/json");
        JSON.writeValue(response.getOutputStream(), told);
    }

    private static Properties settings() throws IOException {
        Properties settings = new Properties();
        try (InputStream file = Orders.class.getResourceAsStream("/shop.properties")) {
            settings.load(file);
        }
        return settings;
    }
}
