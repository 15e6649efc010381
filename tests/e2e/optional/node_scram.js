// One login by SCRAM of node-postgres or postgres.js. Arguments: "pg" or "postgres", the driver's options as JSON (an `ssl` in them
// checks no certificate), and what the error must contain, empty if the login must succeed. Prints "ok" at the end.
const assert = require('assert');
const { Client } = require('pg');
const postgres = require('postgres');

async function ask(driver, options) {
  if (driver === 'postgres') {
    const sql = postgres({ ...options, max: 1, connect_timeout: 10 });
    try {
      return (await sql`select 41::int + 1 as n`)[0].n;
    } finally {
      await sql.end();
    }
  }
  const client = new Client(options);
  client.on('error', () => {});
  await client.connect();
  const n = (await client.query('select 41::int + 1 as n')).rows[0].n;
  await client.end();
  return n;
}

async function main(driver, text, expected) {
  const options = { host: '127.0.0.1', user: 'app', password: 'apppw', database: 'e2e', ...JSON.parse(text) };
  if (expected) {
    await assert.rejects(ask(driver, options), (error) => `${error.code} ${error.message}`.includes(expected) || assert.fail(error));
  } else {
    assert.strictEqual(await ask(driver, options), 42);
  }
  console.log('ok');
}

main(...process.argv.slice(2)).catch((error) => { console.error(error); process.exit(1); });
