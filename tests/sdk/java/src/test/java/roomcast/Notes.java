package roomcast;

import java.util.ArrayList;
import java.util.List;
import java.util.function.BooleanSupplier;

/** A list that is waited for. */
final class Notes<T> {
    /** How long anything may take before a test gives up. */
    static final long PATIENCE_S = 60;

    private final List<T> items = new ArrayList<>();

    synchronized void add(T item) {
        items.add(item);
    }

    synchronized List<T> all() {
        return List.copyOf(items);
    }

    /** Waits until there are so many, and returns them. */
    List<T> heard(int count, String what) {
        until(() -> all().size() >= count, count + " of " + what);
        return all();
    }

    /** Waits for a condition, up to a limit. */
    static void until(BooleanSupplier is, String what) {
        long deadline = System.nanoTime() + PATIENCE_S * 1_000_000_000L;
        while (!is.getAsBoolean()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("waited in vain for " + what);
            }
            try {
                Thread.sleep(5);
            } catch (InterruptedException stop) {
                throw new AssertionError(stop);
            }
        }
    }
}
