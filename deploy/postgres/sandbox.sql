-- On paper the neighbours' tables may come after the migrations: whatever this role makes, the services may read.
ALTER DEFAULT PRIVILEGES IN SCHEMA public
    GRANT SELECT ON TABLES TO flotilla_inference, flotilla_trainer, flotilla_exit_strategy, flotilla_api;
