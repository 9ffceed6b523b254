"""A platform database as the contract describes it: the tables before we came, with rows in each.

Written in the platform's own manner (plain SQL, constraints often unnamed), independently of
`common.tables`, so that the migrations meet shapes they did not make themselves.
"""

import asyncpg

RANGE_CHECKS = {
    "unnamed": """
        CHECK (metric_type <> 'classification' OR metric_value BETWEEN 0 AND 1)""",
    "named, by arms": """
        CONSTRAINT chk_metric_value_bounds CHECK (
            (metric_type = 'classification' AND metric_value >= 0 AND metric_value <= 1)
            OR metric_type IN ('regression', 'trading_performance'))""",
    "oddly named": """
        CONSTRAINT "Value: 0%..1" CHECK (
            metric_type != 'classification' OR metric_value <@ '[0,1]'::numrange)""",
}
"""Ways to spell the same range check; a real database's is unknown."""

OURS = """
CREATE TABLE model_versions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    version varchar(50) UNIQUE NOT NULL CHECK (version ~ '^v\\d+(\\.\\d+)?$'),
    file_path varchar(500) NOT NULL CHECK (file_path LIKE '/models/%'),
    model_type varchar(50) NOT NULL
        CHECK (model_type IN ('xgboost', 'random_forest', 'logistic_regression', 'sgd_classifier')),
    strategy_id varchar(100),
    trained_at timestamp NOT NULL DEFAULT now(),
    training_duration_seconds int,
    training_dataset_size int,
    training_config jsonb,
    is_active boolean NOT NULL DEFAULT false,
    is_warmup_mode boolean NOT NULL DEFAULT false,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);
CREATE INDEX idx_model_versions_strategy_id ON model_versions (strategy_id);
CREATE INDEX idx_model_versions_trained_at ON model_versions (trained_at DESC);
CREATE UNIQUE INDEX idx_model_versions_unique_active ON model_versions (strategy_id) WHERE is_active;

CREATE TABLE model_quality_metrics (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    model_version_id uuid NOT NULL REFERENCES model_versions (id) ON DELETE CASCADE,
    metric_name varchar(100) NOT NULL,
    metric_value decimal(20, 8) NOT NULL,
    metric_type varchar(50) NOT NULL
        CHECK (metric_type IN ('classification', 'regression', 'trading_performance')),
    evaluated_at timestamp NOT NULL DEFAULT now(),
    evaluation_dataset_size int,
    metadata jsonb,
    {range_check}
);
CREATE INDEX idx_model_quality_metrics_model_version_id ON model_quality_metrics (model_version_id);
CREATE INDEX idx_model_quality_metrics_metric_name ON model_quality_metrics (metric_name);
CREATE INDEX idx_model_quality_metrics_evaluated_at ON model_quality_metrics (evaluated_at DESC);

CREATE TABLE trading_signals (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    signal_id uuid UNIQUE NOT NULL,
    strategy_id varchar(100) NOT NULL,
    asset varchar(50) NOT NULL,
    side varchar(10) NOT NULL CHECK (side IN ('buy', 'sell')),
    price decimal(20, 8) NOT NULL CHECK (price > 0),
    confidence decimal(5, 4) CHECK (confidence >= 0 AND confidence <= 1),
    timestamp timestamp NOT NULL,
    model_version varchar(50),
    is_warmup boolean NOT NULL DEFAULT false,
    market_data_snapshot jsonb,
    metadata jsonb,
    trace_id varchar(100),
    created_at timestamp NOT NULL DEFAULT now()
);
CREATE INDEX idx_trading_signals_timestamp ON trading_signals (timestamp DESC);
CREATE INDEX idx_trading_signals_signal_id ON trading_signals (signal_id);
CREATE INDEX idx_trading_signals_strategy_id ON trading_signals (strategy_id);
CREATE INDEX idx_trading_signals_asset ON trading_signals (asset);

CREATE TABLE execution_events (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    signal_id uuid NOT NULL,
    strategy_id varchar(100) NOT NULL,
    asset varchar(50) NOT NULL,
    side varchar(10) NOT NULL CHECK (side IN ('buy', 'sell')),
    execution_price decimal(20, 8) NOT NULL CHECK (execution_price > 0),
    execution_quantity decimal(20, 8) NOT NULL CHECK (execution_quantity > 0),
    execution_fees decimal(20, 8) NOT NULL CHECK (execution_fees >= 0),
    executed_at timestamp NOT NULL,
    signal_price decimal(20, 8) NOT NULL,
    signal_timestamp timestamp NOT NULL,
    performance jsonb NOT NULL,
    created_at timestamp NOT NULL DEFAULT now(),
    used_for_training boolean NOT NULL DEFAULT false,
    training_id uuid REFERENCES model_versions
);
CREATE INDEX idx_execution_events_executed_at ON execution_events (executed_at DESC);
CREATE INDEX idx_execution_events_signal_id ON execution_events (signal_id);
CREATE INDEX idx_execution_events_strategy_id ON execution_events (strategy_id);

CREATE TABLE position_states (
    asset varchar(20) PRIMARY KEY,
    entry_price decimal(20, 8) NOT NULL CHECK (entry_price > 0),
    entry_time timestamp NOT NULL,
    peak_price decimal(20, 8) NOT NULL CHECK (peak_price > 0),
    highest_unrealized_pnl decimal(20, 8) NOT NULL DEFAULT 0,
    last_exit_signal_time timestamp,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now()
);
CREATE INDEX idx_position_states_entry_time ON position_states (entry_time);
CREATE INDEX idx_position_states_updated_at ON position_states (updated_at);
"""

NEIGHBOURS = """
CREATE TABLE orders (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    order_id varchar(100) UNIQUE NOT NULL,
    signal_id uuid NOT NULL,
    asset varchar(20) NOT NULL,
    side varchar(10) NOT NULL CHECK (side IN ('Buy', 'SELL')),
    order_type varchar(20) NOT NULL CHECK (order_type IN ('Market', 'Limit')),
    quantity decimal(20, 8) NOT NULL CHECK (quantity > 0),
    price decimal(20, 8),
    status varchar(50) NOT NULL DEFAULT 'pending' CHECK (status IN
        ('pending', 'partially_filled', 'filled', 'cancelled', 'rejected', 'dry_run')),
    filled_quantity decimal(20, 8) NOT NULL DEFAULT 0,
    average_price decimal(20, 8),
    fees decimal(20, 8),
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now(),
    executed_at timestamp,
    trace_id varchar(100),
    is_dry_run boolean NOT NULL DEFAULT false,
    rejection_reason text
);
CREATE TABLE signal_order_relationships (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    signal_id uuid NOT NULL,
    order_id uuid NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    relationship_type varchar(20) NOT NULL,
    execution_sequence int,
    created_at timestamp NOT NULL DEFAULT now(),
    UNIQUE (signal_id, order_id)
);
CREATE TABLE positions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    asset varchar(20) NOT NULL,
    mode varchar(20) NOT NULL DEFAULT 'one-way' CHECK (mode IN ('one-way', 'hedge')),
    size decimal(20, 8) NOT NULL,
    average_entry_price decimal(20, 8),
    current_price decimal(20, 8),
    unrealized_pnl decimal(20, 8),
    realized_pnl decimal(20, 8),
    long_size decimal(20, 8),
    short_size decimal(20, 8),
    version int NOT NULL DEFAULT 1,
    last_updated timestamp NOT NULL DEFAULT now(),
    closed_at timestamp,
    created_at timestamp NOT NULL DEFAULT now(),
    UNIQUE (asset, mode)
);
CREATE TABLE account_balances (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    coin varchar(10) NOT NULL,
    wallet_balance decimal(20, 8) NOT NULL,
    available_balance decimal(20, 8) NOT NULL,
    frozen decimal(20, 8) NOT NULL DEFAULT 0,
    event_timestamp timestamp NOT NULL,
    received_at timestamp NOT NULL DEFAULT now(),
    trace_id varchar(100)
);
CREATE INDEX idx_account_balances_coin_received_at ON account_balances (coin, received_at DESC);
CREATE TABLE account_margin_balances (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    account_type varchar(20) NOT NULL,
    total_equity decimal(20, 8) NOT NULL,
    total_wallet_balance decimal(20, 8) NOT NULL,
    total_margin_balance decimal(20, 8) NOT NULL,
    total_available_balance decimal(20, 8) NOT NULL,
    base_currency varchar(10) NOT NULL,
    event_timestamp timestamp NOT NULL,
    received_at timestamp NOT NULL DEFAULT now(),
    trace_id varchar(100)
);
CREATE TABLE instrument_info (
    symbol varchar(50) PRIMARY KEY,
    base_coin varchar(20),
    quote_coin varchar(20),
    lot_size decimal(20, 8) NOT NULL,
    min_order_qty decimal(20, 8) NOT NULL,
    min_order_value decimal(20, 8) NOT NULL,
    price_tick_size decimal(20, 8) NOT NULL
);
"""

ROWS = """
INSERT INTO model_versions (id, version, file_path, model_type, strategy_id, training_config, is_active)
VALUES
    ('00000000-0000-4000-8000-000000000001', 'v1', '/models/v1', 'xgboost', NULL, NULL, true),
    ('00000000-0000-4000-8000-000000000002', 'v2', '/models/v2', 'xgboost', NULL, '{"depth": 6}', true),
    ('00000000-0000-4000-8000-000000000003', 'v3', '/models/v3', 'random_forest', 'momentum', NULL, true),
    ('00000000-0000-4000-8000-000000000004', 'v4.1', '/models/v4.1', 'sgd_classifier', 'momentum',
        NULL, false);
INSERT INTO model_quality_metrics (model_version_id, metric_name, metric_value, metric_type, metadata) VALUES
    ('00000000-0000-4000-8000-000000000001', 'accuracy', 0.61, 'classification', '{"dataset_split": "test"}'),
    ('00000000-0000-4000-8000-000000000003', 'f1_score', 1, 'classification', NULL),
    ('00000000-0000-4000-8000-000000000003', 'mse', 4.2, 'regression', NULL),
    ('00000000-0000-4000-8000-000000000003', 'sharpe_ratio', -0.7, 'trading_performance', NULL);
INSERT INTO trading_signals
    (signal_id, strategy_id, asset, side, price, confidence, timestamp, model_version, is_warmup, metadata)
VALUES
    ('00000000-0000-4000-8000-00000000000a', 'momentum', 'BTCUSDT', 'buy', 92011.4, 0.83,
        '2026-01-02 10:00:00', 'v3', false, '{"amount": 250}'),
    ('00000000-0000-4000-8000-00000000000b', 'momentum', 'BTCUSDT', 'sell', 92100.1, NULL,
        '2026-01-02 10:05:00', NULL, true, NULL);
INSERT INTO execution_events (signal_id, strategy_id, asset, side, execution_price, execution_quantity,
    execution_fees, executed_at, signal_price, signal_timestamp, performance, training_id) VALUES
    ('00000000-0000-4000-8000-00000000000a', 'momentum', 'BTCUSDT', 'buy', 92012, 0.0027, 0.24,
        '2026-01-02 10:00:01', 92011.4, '2026-01-02 10:00:00', '{"slippage": 0.6}', NULL),
    ('00000000-0000-4000-8000-00000000000b', 'momentum', 'BTCUSDT', 'sell', 92100, 0.0027, 0,
        '2026-01-02 10:05:01', 92100.1, '2026-01-02 10:05:00', '{"realized_pnl": "0.2376"}',
        '00000000-0000-4000-8000-000000000003');
INSERT INTO position_states (asset, entry_price, entry_time, peak_price) VALUES
    ('BTCUSDT', 92012, '2026-01-02 10:00:01', 92500);
INSERT INTO orders (id, order_id, signal_id, asset, side, order_type, quantity, price, status) VALUES
    ('00000000-0000-4000-8000-0000000000aa', 'EX-1', '00000000-0000-4000-8000-00000000000a',
        'BTCUSDT', 'Buy', 'Limit', 0.0027, 92011, 'filled');
INSERT INTO signal_order_relationships (signal_id, order_id, relationship_type) VALUES
    ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-0000000000aa', 'one_to_one');
INSERT INTO positions (asset, size, average_entry_price, realized_pnl) VALUES ('BTCUSDT', 0, NULL, 0.2376);
INSERT INTO account_balances (coin, wallet_balance, available_balance, event_timestamp) VALUES
    ('USDT', 1000, 1000, '2026-01-02 10:00:00');
INSERT INTO account_margin_balances (account_type, total_equity, total_wallet_balance, total_margin_balance,
    total_available_balance, base_currency, event_timestamp) VALUES
    ('UNIFIED', 1000, 1000, 1000, -3, 'USDT', '2026-01-02 10:00:00');
INSERT INTO instrument_info VALUES ('BTCUSDT', 'BTC', 'USDT', 0.001, 0.001, 5, 0.1);
"""


async def build(connection: asyncpg.Connection, range_check: str = RANGE_CHECKS["unnamed"]) -> None:
    """Creates the platform's tables and rows, with the metrics' range check spelled as given."""
    await connection.execute(OURS.replace("{range_check}", range_check) + NEIGHBOURS + ROWS)
