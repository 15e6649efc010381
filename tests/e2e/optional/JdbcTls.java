// PostgreSQL's JDBC driver over TLS, by itself and below Hikari. Arguments: pairs of "yes", "no" or "pool" and a JDBC URL. "yes": it
// connects and answers; "no": it must not connect; "pool": eight threads share a pool of four connections, each of which lives shortly.
// Prints "ok" at the end; a failure is an exception.
import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.sql.*;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.*;

class JdbcTls {
  static int ask(Connection c, int number) throws SQLException {
    try (PreparedStatement query = c.prepareStatement("select ?::int + 1")) {
      query.setInt(1, number);
      try (ResultSet rows = query.executeQuery()) { rows.next(); return rows.getInt(1); }
    }
  }

  static void one(String url, boolean wanted) {
    String why;
    try (Connection c = DriverManager.getConnection(url)) {
      if (ask(c, 41) != 42) throw new AssertionError(url + " answers wrongly");
      why = null;
    } catch (SQLException error) {
      why = error.getSQLState() + " " + error.getMessage();
    }
    if ((why == null) != wanted) throw new AssertionError(url + ": " + (wanted ? why : "it connects"));
  }

  static void pool(String url) throws Exception {
    HikariConfig config = new HikariConfig();
    config.setJdbcUrl(url);
    config.setMaximumPoolSize(4);
    ExecutorService threads = Executors.newFixedThreadPool(8);
    try (HikariDataSource source = new HikariDataSource(config)) {
      List<Future<?>> all = new ArrayList<>();
      for (int t = 0; t < 8; ++t) {
        all.add(threads.submit(() -> {
          for (int i = 0; i < 100; ++i) {
            try (Connection c = source.getConnection()) {
              if (ask(c, i) != i + 1) throw new AssertionError("another one's answer");
              if (i % 20 == 0) source.evictConnection(c);
            }
          }
          return null;
        }));
      }
      for (Future<?> each : all) each.get();
    } finally {
      threads.shutdown();
    }
  }

  public static void main(String[] args) throws Exception {
    for (int i = 0; i < args.length; i += 2) {
      if (args[i].equals("pool")) {
        pool(args[i + 1]);
      } else {
        one(args[i + 1], args[i].equals("yes"));
      }
    }
    System.out.println("ok");
  }
}
