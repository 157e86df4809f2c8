package example.words;

/** What is said to people. A library of its own, as a team would share it: a SNAPSHOT while it is worked on. */
public final class Words {
    private Words() {}

    public static String greet(String name) {
        return "Good day, " + name;
    }
}
