package example;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/**
 * Dependencies that nobody wrote: as many jars as asked for, of the sizes and the kind of content that real ones have. Most of each is
 * compressed already, as classes in jars are; in every tenth nothing is, as in jars that are made to be started fast.
 */
final class Jars {
    private static final long SEED = 20;
    private static final int ENTRY = 8 * 1024;

    private Jars() {}

    public static void main(String[] arguments) throws IOException {
        Path directory = Path.of(arguments[0]);
        int count = Integer.parseInt(arguments[1]);
        Files.createDirectories(directory);
        for (int number = 0; number < count; number++) {
            jar(directory, number);
        }
    }

    private static void jar(Path directory, int number) throws IOException {
        Random random = new Random(SEED + number);
        String name = "dependency-%03d".formatted(number);
        // Of 500 real ones most are small, and a few have megabytes.
        int entries = 1 + (int) Math.round(Math.exp(2.6 + random.nextGaussian() * 1.2));
        try (OutputStream file = Files.newOutputStream(directory.resolve(name + "-1.0.jar"));
                ZipOutputStream zip = new ZipOutputStream(file)) {
            zip.setMethod(number % 10 == 0 ? ZipOutputStream.STORED : ZipOutputStream.DEFLATED);
            put(zip, number, "META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\n\r\n".getBytes(StandardCharsets.UTF_8));
            String properties = "groupId=example\nartifactId=%s\nversion=1.0\n".formatted(name);
            String place = "META-INF/maven/example/%s/pom.properties".formatted(name);
            put(zip, number, place, properties.getBytes(StandardCharsets.UTF_8));
            for (int entry = 0; entry < entries; entry++) {
                put(zip, number, "example/d%d/Class%d.class".formatted(number, entry), content(random));
            }
        }
    }

    /** Compresses to a bit less than half, as classes do. */
    private static byte[] content(Random random) {
        byte[] bytes = new byte[ENTRY];
        random.nextBytes(bytes);
        for (int at = 0; at + 64 <= bytes.length; at += 64) {
            System.arraycopy("java/lang/Object;getClass()Ljava/lang/".getBytes(StandardCharsets.UTF_8), 0, bytes, at, 37);
        }
        return bytes;
    }

    private static void put(ZipOutputStream zip, int number, String name, byte[] bytes) throws IOException {
        ZipEntry entry = new ZipEntry(name);
        entry.setTime(315_532_800_000L);
        if (number % 10 == 0) {
            CRC32 checksum = new CRC32();
            checksum.update(bytes);
            entry.setSize(bytes.length);
            entry.setCrc(checksum.getValue());
        }
        zip.putNextEntry(entry);
        zip.write(bytes);
        zip.closeEntry();
    }
}
