// node-postgres and postgres.js over TLS. Arguments: port, file of the right roots, file of wrong ones, host of the certificate.
// Prints "ok" at the end.
const assert = require('assert');
const fs = require('fs');
const { Client, Pool } = require('pg');
const postgres = require('postgres');

async function main(port, right, wrong, host) {
  const where = { host: '127.0.0.1', port: Number(port), user: 'app', database: 'e2e' };
  const checked = (roots) => ({ ca: fs.readFileSync(roots, 'utf8'), servername: host, rejectUnauthorized: true });
  const pool = new Pool({ ...where, ssl: checked(right), max: 5 });
  const answers = await Promise.all([...Array(100).keys()].map((i) => pool.query('select $1::int + 1 as n', [i])));
  answers.forEach((answer, i) => assert.strictEqual(answer.rows[0].n, i + 1));
  const c = await pool.connect();
  assert(c.connection.stream.encrypted);
  c.release();
  await pool.end();
  for (const ssl of [checked(wrong), { ...checked(right), servername: 'another.example' }]) {
    const refused = new Client({ ...where, ssl });
    refused.on('error', () => {});
    await assert.rejects(refused.connect());
  }
  const sql = postgres({ ...where, ssl: checked(right), max: 5 });
  const more = await Promise.all([...Array(100).keys()].map((i) => sql`select ${i}::int + 1 as n`));
  more.forEach((rows, i) => assert.strictEqual(rows[0].n, i + 1));
  await sql.end();
  const mistaken = postgres({ ...where, ssl: checked(wrong), max: 1, connect_timeout: 5 });
  await assert.rejects(mistaken`select 1`.then((rows) => rows));
  await mistaken.end();
  console.log('ok');
}

main(...process.argv.slice(2)).catch((error) => { console.error(error); process.exit(1); });
