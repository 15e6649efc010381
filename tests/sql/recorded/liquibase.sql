-- liquibase 4.3.3: recorded by tests/tools/run.py --record, without what only reads. Each block is one statement
-- of the session in brackets, with its SQLSTATE where it fails.

-- [1]
SET extra_float_digits = 3

-- [1]
SET application_name = 'PostgreSQL JDBC Driver'

-- [1]
BEGIN

-- [1]
SET SEARCH_PATH TO public

-- [1]
CREATE TABLE public.databasechangeloglock (ID INTEGER NOT NULL, LOCKED BOOLEAN NOT NULL, LOCKGRANTED TIMESTAMP WITHOUT TIME ZONE, LOCKEDBY VARCHAR(255), CONSTRAINT DATABASECHANGELOGLOCK_PKEY PRIMARY KEY (ID))

-- [1]
COMMIT

-- [1]
BEGIN

-- [1]
DELETE FROM public.databasechangeloglock

-- [1]
INSERT INTO public.databasechangeloglock (ID, LOCKED) VALUES (1, FALSE)

-- [1]
COMMIT

-- [1]
BEGIN

-- [1]
UPDATE public.databasechangeloglock SET LOCKED = TRUE, LOCKEDBY = 'host', LOCKGRANTED = '2026-11-26 19:30:39.815' WHERE ID = 1 AND LOCKED = FALSE

-- [1]
COMMIT

-- [1]
BEGIN

-- [1]
SET SEARCH_PATH TO public

-- [1]
CREATE TABLE public.databasechangelog (ID VARCHAR(255) NOT NULL, AUTHOR VARCHAR(255) NOT NULL, FILENAME VARCHAR(255) NOT NULL, DATEEXECUTED TIMESTAMP WITHOUT TIME ZONE NOT NULL, ORDEREXECUTED INTEGER NOT NULL, EXECTYPE VARCHAR(10) NOT NULL, MD5SUM VARCHAR(35), DESCRIPTION VARCHAR(255), COMMENTS VARCHAR(255), TAG VARCHAR(255), LIQUIBASE VARCHAR(20), CONTEXTS VARCHAR(255), LABELS VARCHAR(255), DEPLOYMENT_ID VARCHAR(10))

-- [1]
COMMIT

-- [1]
BEGIN

-- [1]
SET SEARCH_PATH TO public

-- [1]
UPDATE public.databasechangeloglock SET LOCKED = FALSE, LOCKEDBY = NULL, LOCKGRANTED = NULL WHERE ID = 1

-- [1]
COMMIT

-- [1]
BEGIN

-- [1]
SET SEARCH_PATH TO public

-- [1]
UPDATE public.databasechangeloglock SET LOCKED = TRUE, LOCKEDBY = 'host', LOCKGRANTED = '2026-11-26 19:30:40.072' WHERE ID = 1 AND LOCKED = FALSE

-- [1]
COMMIT

-- [1]
BEGIN

-- [1]
SET SEARCH_PATH TO public

-- [1]
CREATE TABLE users (id int)

-- [1]
COMMIT

-- [1]
BEGIN

-- [1]
INSERT INTO public.databasechangelog (ID, AUTHOR, FILENAME, DATEEXECUTED, ORDEREXECUTED, MD5SUM, DESCRIPTION, COMMENTS, EXECTYPE, CONTEXTS, LABELS, LIQUIBASE, DEPLOYMENT_ID) VALUES ('1', 'tester', 'changelog.sql', NOW(), 1, '8:3e5a8fb9f63afa557f06cc90ba521e36', 'sql', 'users', 'EXECUTED', NULL, NULL, '4.3.3', '5721439932')

-- [1]
COMMIT

-- [1]
BEGIN

-- [1]
SET SEARCH_PATH TO public

-- [1]
UPDATE public.databasechangeloglock SET LOCKED = FALSE, LOCKEDBY = NULL, LOCKGRANTED = NULL WHERE ID = 1

-- [1]
COMMIT

-- adopt

-- [2]
SET extra_float_digits = 3

-- [2]
SET application_name = 'PostgreSQL JDBC Driver'

-- [2]
BEGIN

-- [2]
SET SEARCH_PATH TO public

-- [2]
UPDATE public.databasechangeloglock SET LOCKED = TRUE, LOCKEDBY = 'host', LOCKGRANTED = '2026-11-26 19:30:41.735' WHERE ID = 1 AND LOCKED = FALSE

-- [2]
COMMIT

-- [2]
BEGIN

-- [2]
SET SEARCH_PATH TO public

-- [2]
UPDATE public.databasechangeloglock SET LOCKED = FALSE, LOCKEDBY = NULL, LOCKGRANTED = NULL WHERE ID = 1

-- [2]
COMMIT

-- [2]
BEGIN

-- [2]
SET SEARCH_PATH TO public

-- [2]
UPDATE public.databasechangeloglock SET LOCKED = TRUE, LOCKEDBY = 'host', LOCKGRANTED = '2026-11-26 19:30:42.471' WHERE ID = 1 AND LOCKED = FALSE

-- [2]
COMMIT

-- [2]
BEGIN

-- [2]
SET SEARCH_PATH TO public

-- [2]
SELECT berth.lock_tables('users')

-- [2]
ALTER TABLE users ADD name text

-- [2]
COMMIT

-- [2]
BEGIN

-- [2]
INSERT INTO public.databasechangelog (ID, AUTHOR, FILENAME, DATEEXECUTED, ORDEREXECUTED, MD5SUM, DESCRIPTION, COMMENTS, EXECTYPE, CONTEXTS, LABELS, LIQUIBASE, DEPLOYMENT_ID) VALUES ('2', 'tester', 'changelog.sql', NOW(), 2, '8:3c10c54ee120749b889f482af199f7fa', 'sql', 'users_name', 'EXECUTED', NULL, NULL, '4.3.3', '5721442227')

-- [2]
COMMIT

-- [2]
SET SEARCH_PATH TO public

-- [2]
CREATE INDEX CONCURRENTLY users_id ON users (id)

-- [2]
BEGIN

-- [2]
INSERT INTO public.databasechangelog (ID, AUTHOR, FILENAME, DATEEXECUTED, ORDEREXECUTED, MD5SUM, DESCRIPTION, COMMENTS, EXECTYPE, CONTEXTS, LABELS, LIQUIBASE, DEPLOYMENT_ID) VALUES ('3', 'tester', 'changelog.sql', NOW(), 3, '8:86879d92461ab2cf45cfee4f7346726e', 'sql', 'users_id', 'EXECUTED', NULL, NULL, '4.3.3', '5721442227')

-- [2]
COMMIT

-- [2]
BEGIN

-- [2]
SET SEARCH_PATH TO public

-- [2]
DO $$ BEGIN IF berth.migrate_once('orders', scope => 'scripts') THEN CREATE TABLE orders (id int); END IF; END $$

-- [2]
COMMIT

-- [2]
BEGIN

-- [2]
INSERT INTO public.databasechangelog (ID, AUTHOR, FILENAME, DATEEXECUTED, ORDEREXECUTED, MD5SUM, DESCRIPTION, COMMENTS, EXECTYPE, CONTEXTS, LABELS, LIQUIBASE, DEPLOYMENT_ID) VALUES ('4', 'tester', 'changelog.sql', NOW(), 4, '8:c88edeed1a0c5a24281069cbce3bf7f3', 'sql', 'orders', 'EXECUTED', NULL, NULL, '4.3.3', '5721442227')

-- [2]
COMMIT

-- [2]
BEGIN

-- [2]
SET SEARCH_PATH TO public

-- [2]
UPDATE public.databasechangeloglock SET LOCKED = FALSE, LOCKEDBY = NULL, LOCKGRANTED = NULL WHERE ID = 1

-- [2]
COMMIT

-- [3]
SET extra_float_digits = 3

-- [3]
SET application_name = 'PostgreSQL JDBC Driver'

-- [4]
SET extra_float_digits = 3

-- [4]
SET application_name = 'PostgreSQL JDBC Driver'

-- [4]
BEGIN

-- [4]
SET SEARCH_PATH TO public

-- [4]
UPDATE public.databasechangeloglock SET LOCKED = TRUE, LOCKEDBY = 'host', LOCKGRANTED = '2026-11-26 19:30:45.82' WHERE ID = 1 AND LOCKED = FALSE

-- [4]
COMMIT

-- [4]
BEGIN

-- [4]
SET SEARCH_PATH TO public

-- [4]
UPDATE public.databasechangeloglock SET LOCKED = FALSE, LOCKEDBY = NULL, LOCKGRANTED = NULL WHERE ID = 1

-- [4]
COMMIT

-- [4]
BEGIN

-- [4]
SET SEARCH_PATH TO public

-- [4]
UPDATE public.databasechangeloglock SET LOCKED = TRUE, LOCKEDBY = 'host', LOCKGRANTED = '2026-11-26 19:30:46.232' WHERE ID = 1 AND LOCKED = FALSE

-- [4]
COMMIT

-- [4]
BEGIN

-- [4]
SET SEARCH_PATH TO public

-- [4] 42P07
CREATE TABLE users (id int)

-- [4]
ROLLBACK

-- [4]
BEGIN

-- [4]
SET SEARCH_PATH TO public

-- [4]
UPDATE public.databasechangeloglock SET LOCKED = FALSE, LOCKEDBY = NULL, LOCKGRANTED = NULL WHERE ID = 1

-- [4]
COMMIT

-- [5]
SET extra_float_digits = 3

-- [5]
SET application_name = 'PostgreSQL JDBC Driver'

-- [5]
BEGIN

-- [5]
SET SEARCH_PATH TO public

-- [5]
UPDATE public.databasechangeloglock SET LOCKED = TRUE, LOCKEDBY = 'host', LOCKGRANTED = '2026-11-26 19:30:47.287' WHERE ID = 1 AND LOCKED = FALSE

-- [5]
COMMIT

-- [5]
BEGIN

-- [5]
SET SEARCH_PATH TO public

-- [5]
UPDATE public.databasechangeloglock SET LOCKED = FALSE, LOCKEDBY = NULL, LOCKGRANTED = NULL WHERE ID = 1

-- [5]
COMMIT

-- [5]
BEGIN

-- [5]
SET SEARCH_PATH TO public

-- [5]
UPDATE public.databasechangeloglock SET LOCKED = TRUE, LOCKEDBY = 'host', LOCKGRANTED = '2026-11-26 19:30:47.706' WHERE ID = 1 AND LOCKED = FALSE

-- [5]
COMMIT

-- [5]
BEGIN

-- [5]
SET SEARCH_PATH TO public

-- [5]
DROP TABLE orders

-- [5]
COMMIT

-- [5]
BEGIN

-- [5]
DELETE FROM public.databasechangelog WHERE ID = '4' AND AUTHOR = 'tester' AND FILENAME = 'changelog.sql'

-- [5]
COMMIT

-- [5]
BEGIN

-- [5]
SET SEARCH_PATH TO public

-- [5]
UPDATE public.databasechangeloglock SET LOCKED = FALSE, LOCKEDBY = NULL, LOCKGRANTED = NULL WHERE ID = 1

-- [5]
COMMIT
