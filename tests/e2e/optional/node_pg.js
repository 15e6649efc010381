// node-postgres through the broker: named and unnamed statements, a pool, transactions, errors, COPY, cancel by timeout.
// Argument: a connection URL. Prints "ok" at the end.
const assert = require('assert');
const { Pool, Client } = require('pg');
const copy = require('pg-copy-streams');
const { pipeline } = require('stream/promises');
const { Readable } = require('stream');

async function main(url) {
  const pool = new Pool({ connectionString: url, max: 10 });
  const numbers = [...Array(200).keys()];
  const named = await Promise.all(numbers.map((i) => pool.query({ name: 'add', text: 'select $1::int + 1 as n', values: [i] })));
  named.forEach((result, i) => assert.strictEqual(result.rows[0].n, i + 1));
  const unnamed = await Promise.all(numbers.map((i) => pool.query('select $1::int + 2 as n', [i])));
  unnamed.forEach((result, i) => assert.strictEqual(result.rows[0].n, i + 2));
  await assert.rejects(pool.query('select 1/0'), { code: '22012' });
  const c = await pool.connect();
  await c.query('delete from node_check');
  await c.query('begin');
  await c.query('insert into node_check values ($1, $2)', [1, 'kept']);
  await c.query('commit');
  const text = numbers.map((i) => `${i + 100}\tcopied\n`);
  await pipeline(Readable.from(text), c.query(copy.from('copy node_check from stdin')));
  let out = '';
  for await (const part of c.query(copy.to('copy (select * from node_check where id >= 100 order by id) to stdout'))) out += part;
  assert.strictEqual(out, text.join(''));
  assert.strictEqual((await c.query('select 7 as n')).rows[0].n, 7);
  c.release();
  await pool.end();
  const impatient = new Client({ connectionString: url, statement_timeout: 200 });  // a startup parameter
  await impatient.connect();
  await assert.rejects(impatient.query('select pg_sleep(60)'), { code: '57014' });
  await impatient.end();
  console.log('ok');
}

main(process.argv[2]).catch((error) => { console.error(error); process.exit(1); });
