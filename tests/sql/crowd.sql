-- As many clients as the variable says, most of them without a backend.
\ir helpers.sql
BEGIN;
SELECT * FROM no_plan();

SELECT is((SELECT count(DISTINCT client_port) FROM berth.clients WHERE application_name LIKE 'client %'), :clients::bigint, 'clients');
SELECT is((SELECT clients FROM berth.brokers), :clients::bigint, 'brokers');
SELECT is((SELECT sum(current_client_connections) FROM berth.databases WHERE database = 'e2e'), :clients::numeric, 'databases');
SELECT is((SELECT count(*) FROM berth.activity), (SELECT count(*) FROM pg_stat_activity), 'activity has no more rows for it');
SELECT is((SELECT count(*) FROM berth.advice WHERE severity = 'critical'), 0::bigint, 'and idle clients are nothing critical');

SELECT * FROM finish();
ROLLBACK;
