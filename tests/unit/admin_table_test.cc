// The console's tables: exact bytes of descriptions and rows, text and binary, and the columns that dashboards rely
// on.
#include "admin/table.h"

#include <gtest/gtest.h>

#include "admin/show.h"
#include "wire/frame.h"

namespace berth::admin {
namespace {

constexpr Column kColumns[] = {
    {"name"}, {"four", ColumnType::kInt4}, {"eight", ColumnType::kInt8}, {"many", ColumnType::kNumeric}};

std::string row_of(int64_t number, const Formats& formats) {
  Table table(kColumns);
  table.text("ab").number(number).number(number).number(number).end_row();
  std::string out;
  table.put_row(out, 0, formats);
  EXPECT_EQ(out[0], 'D');
  EXPECT_EQ(wire::read32(out.data() + 1) + 1, out.size());
  EXPECT_EQ(wire::read16(out.data() + 5), 4);
  return out.substr(7);
}

std::string bytes(std::initializer_list<int> values) {
  std::string out;
  for (const int value : values) out += static_cast<char>(value);
  return out;
}

TEST(AdminTable, DescriptionHasTheTypes) {
  std::string out;
  put_description(out, kColumns, {});
  std::string expected = bytes({0, 4});
  const auto column = [&](std::string_view name, int oid, int size, int format) {
    expected += name;
    expected += bytes(
        {0, 0, 0, 0, 0, 0, 0, 0, 0, oid >> 8, oid & 255, size >> 8 & 255, size & 255, 255, 255, 255, 255, 0, format});
  };
  column("name", 25, -1, 0);
  column("four", 23, 4, 0);
  column("eight", 20, 8, 0);
  column("many", 1700, -1, 0);
  EXPECT_EQ(out.substr(5), expected);
  out.clear();
  put_description(out, {}, {});
  EXPECT_EQ(out, bytes({'n', 0, 0, 0, 4}));
}

TEST(AdminTable, RowsAsText) {
  EXPECT_EQ(row_of(-7, {}),
            bytes({0, 0, 0, 2, 'a', 'b', 0, 0, 0, 2, '-', '7', 0, 0, 0, 2, '-', '7', 0, 0, 0, 2, '-', '7'}));
  Table table(kColumns);
  table.text("").null().null().number(0).end_row();
  std::string out;
  table.put_row(out, 0, {1});
  EXPECT_EQ(out.substr(7, 12), bytes({0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255}));
}

TEST(AdminTable, RowsAsBinary) {
  const std::string head = bytes({0, 0, 0, 2, 'a', 'b'});
  EXPECT_EQ(row_of(0, {1}), head + bytes({0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0,
                                          0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0}));
  // 123456789 is 1 * 10000^2 + 2345 * 10000 + 6789.
  EXPECT_EQ(row_of(123456789, {1}).substr(26),
            bytes({0, 0, 0, 14, 0, 3, 0, 2, 0, 0, 0, 0, 0, 1, 2345 >> 8, 2345 & 255, 6789 >> 8, 6789 & 255}));
  EXPECT_EQ(row_of(-10000, {1}).substr(26), bytes({0, 0, 0, 12, 0, 2, 0, 1, 0x40, 0, 0, 0, 0, 1, 0, 0}));
  // A format for each column.
  EXPECT_EQ(row_of(5, {0, 1, 0, 0}).substr(6), bytes({0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 1, '5', 0, 0, 0, 1, '5'}));
  // The ends of int64.
  EXPECT_EQ(row_of(INT64_MIN, {1}).substr(18, 8), bytes({0x80, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(row_of(INT64_MIN, {1}).substr(26, 12), bytes({0, 0, 0, 18, 0, 5, 0, 4, 0x40, 0, 0, 0}));
}

TEST(AdminTable, InstantsAndBooleans) {
  static constexpr Column kOurs[] = {{"at"}, {"yes", ColumnType::kBool}, {"no", ColumnType::kBool}};
  Table table(kOurs);
  table.instant(Micros{1'700'000'000} * kSecond + 42).boolean(true).boolean(false).end_row();
  const std::string at = bytes({0, 0, 0, 32}) + "2023-11-14T22:13:20.000042+00:00";
  for (const int16_t format : {0, 1}) {
    std::string out;
    table.put_row(out, 0, {format});
    const std::string yes = format ? bytes({1}) : "t", no = format ? bytes({0}) : "f";
    EXPECT_EQ(out.substr(7), at + bytes({0, 0, 0, 1}) + yes + bytes({0, 0, 0, 1}) + no);
  }
  std::string described;
  put_description(described, kOurs, {});
  EXPECT_NE(described.find(bytes({0, 0, 0, 16, 0, 1})), std::string::npos);  // type and size of bool
}

TEST(AdminTable, AppendTakesRowsOver) {
  Table all(kColumns), part(kColumns);
  part.text("x").number(1).number(2).number(3).end_row();
  all.append(std::move(part));
  EXPECT_EQ(all.size(), 1u);
}

// ---- the contract with exporters: names and types, in order

std::string shape(ShowKind kind) {
  std::string out;
  for (const Column& column : columns_of(kind)) {
    if (!out.empty()) out += ' ';
    out += column.name;
    switch (column.type) {
      case ColumnType::kText: out += ":s"; break;
      case ColumnType::kInt4: out += ":i"; break;
      case ColumnType::kInt8: out += ":q"; break;
      case ColumnType::kNumeric: out += ":N"; break;
      case ColumnType::kBool: out += ":B"; break;
      case ColumnType::kBytea: out += ":b"; break;
    }
  }
  return out;
}

TEST(AdminTable, ColumnsAreThoseOfPgBouncer) {
  EXPECT_EQ(shape(ShowKind::kPools),
            "database:s user:s cl_active:i cl_waiting:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active:i "
            "sv_active_cancel:i "
            "sv_being_canceled:i sv_idle:i sv_used:i sv_tested:i sv_login:i maxwait:i maxwait_us:i pool_mode:s "
            "load_balance_hosts:s");
  const std::string sockets =
      "type:s user:s database:s replication:s state:s addr:s port:i local_addr:s local_port:i connect_time:s "
      "request_time:s wait:i "
      "wait_us:i close_needed:i ptr:s link:s remote_pid:i tls:s application_name:s prepared_statements:i id:i";
  EXPECT_EQ(shape(ShowKind::kClients), sockets);
  EXPECT_EQ(shape(ShowKind::kServers), sockets);
  EXPECT_EQ(shape(ShowKind::kSockets),
            sockets + " recv_pos:i pkt_pos:i pkt_remain:i send_pos:i send_remain:i pkt_avail:i send_avail:i");
  EXPECT_EQ(shape(ShowKind::kActiveSockets), shape(ShowKind::kSockets));
  EXPECT_EQ(shape(ShowKind::kDatabases),
            "name:s host:s port:i database:s force_user:s pool_size:i min_pool_size:i reserve_pool_size:i "
            "server_lifetime:i pool_mode:s "
            "load_balance_hosts:s max_connections:i current_connections:i max_client_connections:i "
            "current_client_connections:i "
            "paused:i disabled:i");
  EXPECT_EQ(shape(ShowKind::kUsers),
            "name:s pool_size:s reserve_pool_size:s pool_mode:s max_user_connections:i current_connections:i "
            "max_user_client_connections:i current_client_connections:i");
  EXPECT_EQ(shape(ShowKind::kLists), "list:s items:i");
  EXPECT_EQ(shape(ShowKind::kConfig), "key:s value:s default:s changeable:s");
  EXPECT_EQ(shape(ShowKind::kMem), "name:s size:i used:i free:i memtotal:i");
  EXPECT_EQ(shape(ShowKind::kState), "key:s value:s");
  EXPECT_EQ(shape(ShowKind::kVersion), "version:s");
  EXPECT_EQ(shape(ShowKind::kPeers), "peer_id:i host:s port:i pool_size:i");
  EXPECT_EQ(shape(ShowKind::kPeerPools),
            "peer_id:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active_cancel:i sv_login:i");
  EXPECT_EQ(shape(ShowKind::kDnsHosts), "hostname:s ttl:q addrs:s");
  EXPECT_EQ(shape(ShowKind::kDnsZones), "zonename:s serial:q count:i");
}

TEST(AdminTable, StatisticsColumnsAreThoseOfPgBouncer) {
  EXPECT_EQ(
      shape(ShowKind::kStats),
      "database:s total_server_assignment_count:N total_xact_count:N total_query_count:N total_received:N "
      "total_sent:N "
      "total_xact_time:N total_query_time:N total_wait_time:N total_client_parse_count:N total_server_parse_count:N "
      "total_bind_count:N total_client_login_count:N avg_server_assignment_count:N avg_xact_count:N "
      "avg_query_count:N avg_recv:N "
      "avg_sent:N avg_xact_time:N avg_query_time:N avg_wait_time:N avg_client_parse_count:N avg_server_parse_count:N "
      "avg_bind_count:N avg_client_login_count:N");
  const std::string counts =
      "database:s server_assignment_count:N xact_count:N query_count:N bytes_received:N bytes_sent:N xact_time:N "
      "query_time:N wait_time:N ";
  EXPECT_EQ(shape(ShowKind::kStatsTotals),
            counts + "client_parse_count:N server_parse_count:N bind_count:N client_login_count:N");
  EXPECT_EQ(shape(ShowKind::kStatsAverages),
            counts + "avg_client_parse_count:N avg_server_parse_count:N avg_bind_count:N avg_client_login_count:N");
  EXPECT_EQ(shape(ShowKind::kTotals), "name:s value:N");
}

}  // namespace
}  // namespace berth::admin
