package example;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import java.util.zip.ZipOutputStream;

/** Writes an archive again with other bytes for one of its members: all others stay as they are, stored or compressed. */
final class Edited {
    private Edited() {}

    public static void main(String[] arguments) throws IOException {
        Path archive = Path.of(arguments[0]);
        String member = arguments[1];
        byte[] content = Files.readAllBytes(Path.of(arguments[2]));
        Path edited = archive.resolveSibling("edited");
        try (ZipFile from = new ZipFile(archive.toFile());
                OutputStream file = Files.newOutputStream(edited);
                ZipOutputStream to = new ZipOutputStream(file)) {
            for (ZipEntry entry : from.stream().toList()) {
                byte[] bytes = entry.getName().equals(member) ? content : from.getInputStream(entry).readAllBytes();
                to.putNextEntry(again(entry, bytes));
                to.write(bytes);
                to.closeEntry();
            }
        }
        Files.move(edited, archive, StandardCopyOption.REPLACE_EXISTING);
    }

    private static ZipEntry again(ZipEntry entry, byte[] bytes) {
        ZipEntry again = new ZipEntry(entry.getName());
        again.setTime(entry.getTime());
        again.setMethod(entry.getMethod());
        if (entry.getMethod() == ZipEntry.STORED) {
            CRC32 checksum = new CRC32();
            checksum.update(bytes);
            again.setSize(bytes.length);
            again.setCrc(checksum.getValue());
        }
        return again;
    }
}
