-- A login for each service, in the role that revision 0009 gives its rights to (docs/security.md). Run by an
-- administrator before or after the migrations; again after a password was changed. Passwords are files of `secrets`:
--
--   psql --set=secrets=deploy/secrets --file=deploy/postgres/logins.sql
\set ON_ERROR_STOP on
\if :{?secrets}
\else
    \set secrets /run/secrets
\endif
\set inference `cat :'secrets'/postgres_inference_password`
\set trainer `cat :'secrets'/postgres_trainer_password`
\set exit_strategy `cat :'secrets'/postgres_exit_strategy_password`
\set api `cat :'secrets'/postgres_api_password`

SELECT format('CREATE ROLE %I NOLOGIN', name)
FROM unnest(ARRAY['flotilla_inference', 'flotilla_trainer', 'flotilla_exit_strategy', 'flotilla_api']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec
SELECT format('CREATE ROLE %I LOGIN', service || '_login')
FROM unnest(ARRAY['inference', 'trainer', 'exit_strategy', 'api']) AS service
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service || '_login')
\gexec
GRANT flotilla_inference TO inference_login;
GRANT flotilla_trainer TO trainer_login;
GRANT flotilla_exit_strategy TO exit_strategy_login;
GRANT flotilla_api TO api_login;
ALTER ROLE inference_login PASSWORD :'inference';
ALTER ROLE trainer_login PASSWORD :'trainer';
ALTER ROLE exit_strategy_login PASSWORD :'exit_strategy';
ALTER ROLE api_login PASSWORD :'api';
