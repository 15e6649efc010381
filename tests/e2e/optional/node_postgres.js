// postgres.js through the broker: it prepares every statement by name, pipelines, and cancels. Argument: a connection
// URL. Prints "ok" at the end.
const assert = require('assert');
const postgres = require('postgres');

async function main(url) {
  const sql = postgres(url, { max: 5, onnotice: () => {} });
  const numbers = [...Array(200).keys()];
  const results = await Promise.all(numbers.map((i) => sql`select ${i}::int + 1 as n`));
  results.forEach((rows, i) => assert.strictEqual(rows[0].n, i + 1));
  await sql.begin(async (within) => {
    await within`delete from node_check`;
    await within`insert into node_check ${within(numbers.map((i) => ({ id: i, text: 'row' })))}`;
  });
  assert.strictEqual((await sql`select count(*)::int as n from node_check`)[0].n, 200);
  await assert.rejects(sql`select 1/0`, { code: '22012' });
  await assert.rejects(sql.begin(async (within) => { await within`select 1`; throw new Error('taken back'); }), /taken back/);
  let seen = 0;
  await sql`select id from node_check order by id`.cursor(17, (rows) => { seen += rows.length; });
  assert.strictEqual(seen, 200);
  const slow = sql`select pg_sleep(60)`;
  slow.execute();
  setTimeout(() => slow.cancel(), 300);
  await assert.rejects(slow, { code: '57014' });
  assert.strictEqual((await sql`select 7 as n`)[0].n, 7);
  await sql.end();
  console.log('ok');
}

main(process.argv[2]).catch((error) => { console.error(error); process.exit(1); });
