package example;

import com.google.cloud.tools.jib.api.Containerizer;
import com.google.cloud.tools.jib.api.JavaContainerBuilder;
import com.google.cloud.tools.jib.api.RegistryImage;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/**
 * Jib's own library, as its plugins for Maven and Gradle use it: dependencies, resources and classes in layers of their own. Each line of
 * the input asks for one image: where its base is, where it goes, the program's directory, and a directory for Jib's caches, with tabs
 * between them. The answer is how many milliseconds it took.
 */
final class Driver {
    private Driver() {}

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split("\t");
            long begin = System.nanoTime();
            String digest = build(words[0], words[1], Path.of(words[2]), Path.of(words[3]));
            System.out.println((System.nanoTime() - begin) / 1_000_000 + "\t" + digest);
        }
        // Jib's own threads would keep the JVM for a while.
        System.exit(0);
    }

    private static String build(String base, String target, Path program, Path caches) throws Exception {
        Path classes = program.resolve("classes");
        List<Path> dependencies;
        try (Stream<Path> files = Files.list(program.resolve("lib"))) {
            dependencies = files.sorted().toList();
        }
        List<Path> snapshots = dependencies.stream().filter(Driver::snapshot).toList();
        List<Path> others = dependencies.stream().filter(path -> !snapshot(path)).toList();
        Containerizer containerizer = Containerizer.to(image(target))
                .setAllowInsecureRegistries(true)
                .setBaseImageLayersCache(caches.resolve("base"))
                .setApplicationLayersCache(caches.resolve("application"));
        return JavaContainerBuilder.from(image(base))
                .addDependencies(others)
                .addSnapshotDependencies(snapshots)
                .addResources(classes, path -> !path.toString().endsWith(".class"))
                .addClasses(classes, path -> path.toString().endsWith(".class"))
                .setMainClass("example.web.Application")
                .toContainerBuilder()
                .containerize(containerizer)
                .getDigest()
                .toString();
    }

    private static boolean snapshot(Path path) {
        return path.getFileName().toString().contains("SNAPSHOT");
    }

    private static RegistryImage image(String reference) throws Exception {
        RegistryImage image = RegistryImage.named(reference);
        String token = System.getenv("REGISTRY_TOKEN");
        return token == null ? image : image.addCredential("barge", token);
    }
}
