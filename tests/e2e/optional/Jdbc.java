// PostgreSQL's JDBC driver through the broker: what it does by itself (named statements after prepareThreshold executions),
// batches, COPY, cursors with a fetch size, cancel by timeout. Argument: a JDBC URL.
// Prints "ok" at the end; a failure is an exception.
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.Properties;
import org.postgresql.PGConnection;

class Jdbc {
  static void same(Object expected, Object got) {
    if (!expected.equals(got)) throw new AssertionError("expected " + expected + ", got " + got);
  }

  static Connection connect(String url, int threshold) throws SQLException {
    Properties properties = new Properties();
    properties.setProperty("user", "app");
    properties.setProperty("prepareThreshold", Integer.toString(threshold));
    return DriverManager.getConnection(url, properties);
  }

  // Two connections take turns on the same servers, so that each meets statements of the other.
  static void prepared(String url, int threshold) throws SQLException {
    try (Connection one = connect(url, threshold); Connection two = connect(url, threshold)) {
      PreparedStatement a = one.prepareStatement("select ?::int + 1");
      PreparedStatement b = two.prepareStatement("select ?::int + 2");
      for (int i = 0; i < 30; ++i) {
        a.setInt(1, i);
        b.setInt(1, i);
        try (ResultSet rows = a.executeQuery()) { rows.next(); same(i + 1, rows.getInt(1)); }
        try (ResultSet rows = b.executeQuery()) { rows.next(); same(i + 2, rows.getInt(1)); }
      }
    }
  }

  static void batch(Connection c) throws SQLException {
    c.createStatement().execute("delete from jdbc_check");
    PreparedStatement insert = c.prepareStatement("insert into jdbc_check values (?, ?)");
    for (int i = 0; i < 500; ++i) {
      insert.setInt(1, i);
      insert.setString(2, "row " + i);
      insert.addBatch();
    }
    same(500, insert.executeBatch().length);
    insert.setInt(1, 1);
    insert.setString(2, "a key twice");
    insert.addBatch();
    insert.setInt(1, 1000);
    insert.setString(2, "never");
    insert.addBatch();
    try {
      insert.executeBatch();
      throw new AssertionError("a key twice");
    } catch (BatchUpdateException error) {
      same("23505", error.getSQLState());
    }
    try (ResultSet rows = c.createStatement().executeQuery("select count(*) from jdbc_check")) {
      rows.next();
      same(500L, rows.getLong(1));
    }
  }

  static void cursor(Connection c) throws SQLException {
    c.setAutoCommit(false);
    PreparedStatement all = c.prepareStatement("select id from jdbc_check order by id");
    all.setFetchSize(7);
    int count = 0;
    try (ResultSet rows = all.executeQuery()) {
      while (rows.next()) same(count++, rows.getInt(1));
    }
    same(500, count);
    Savepoint savepoint = c.setSavepoint();
    try {
      c.createStatement().execute("select 1/0");
      throw new AssertionError("1/0");
    } catch (SQLException error) {
      same("22012", error.getSQLState());
      c.rollback(savepoint);
    }
    c.commit();
    c.setAutoCommit(true);
  }

  static void copy(Connection c) throws Exception {
    var copies = c.unwrap(PGConnection.class).getCopyAPI();
    StringBuilder text = new StringBuilder();
    for (int i = 500; i < 20500; ++i) text.append(i).append("\tcopied\n");
    same(20000L, copies.copyIn("copy jdbc_check from stdin", new StringReader(text.toString())));
    StringWriter out = new StringWriter();
    same(20000L, copies.copyOut("copy (select * from jdbc_check where id >= 500 order by id) to stdout", out));
    same(text.toString(), out.toString());
  }

  static void cancel(Connection c) throws Exception {
    Statement slow = c.createStatement();
    slow.setQueryTimeout(1);
    try {
      slow.execute("select pg_sleep(60)");
      throw new AssertionError("was not cancelled");
    } catch (SQLException error) {
      same("57014", error.getSQLState());
    }
    try (ResultSet rows = c.createStatement().executeQuery("select 7")) { rows.next(); same(7, rows.getInt(1)); }
  }

  public static void main(String[] arguments) throws Exception {
    String url = arguments[0];
    for (int threshold : new int[] {0, 1, 5, -1}) prepared(url, threshold);
    try (Connection c = connect(url, 3)) {
      batch(c);
      cursor(c);
      copy(c);
      cancel(c);
    }
    System.out.println("ok");
  }
}
