-- The neighbours' tables, as far as the fleet reads them; created only where they are absent.
-- Every TIMESTAMP is naive UTC. Nothing newer than PostgreSQL 15.

CREATE TABLE IF NOT EXISTS orders (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    order_id varchar(100) NOT NULL UNIQUE,
    signal_id uuid NOT NULL,
    asset varchar(20) NOT NULL,
    side varchar(4) NOT NULL CHECK (side IN ('Buy', 'SELL')),
    order_type varchar(20) NOT NULL CHECK (order_type IN ('Market', 'Limit')),
    quantity numeric(20, 8) NOT NULL CHECK (quantity > 0),
    price numeric(20, 8) CHECK (price IS NULL OR price > 0),
    status varchar(20) NOT NULL
        CHECK (status IN ('pending', 'partially_filled', 'filled', 'cancelled', 'rejected', 'dry_run')),
    filled_quantity numeric(20, 8) NOT NULL DEFAULT 0 CHECK (filled_quantity BETWEEN 0 AND quantity),
    average_price numeric(20, 8) CHECK (average_price IS NULL OR average_price > 0),
    fees numeric(20, 8),
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
    updated_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
    executed_at timestamp,
    trace_id varchar(100),
    is_dry_run boolean NOT NULL DEFAULT false,
    rejection_reason text
);
CREATE INDEX IF NOT EXISTS idx_orders_signal_id ON orders (signal_id);
CREATE INDEX IF NOT EXISTS idx_orders_asset_status ON orders (asset, status);
CREATE INDEX IF NOT EXISTS idx_orders_created_at ON orders (created_at DESC);

CREATE TABLE IF NOT EXISTS signal_order_relationships (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    signal_id uuid NOT NULL,
    order_id uuid NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
    UNIQUE (signal_id, order_id)
);

CREATE TABLE IF NOT EXISTS account_balances (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    coin varchar(10) NOT NULL,
    wallet_balance numeric(20, 8) NOT NULL,
    available_balance numeric(20, 8) NOT NULL,
    frozen numeric(20, 8) NOT NULL DEFAULT 0 CHECK (frozen >= 0),
    event_timestamp timestamp NOT NULL,
    received_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
    trace_id varchar(100)
);
CREATE INDEX IF NOT EXISTS idx_account_balances_coin_received_at
    ON account_balances (coin, received_at DESC);

CREATE TABLE IF NOT EXISTS account_margin_balances (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_type varchar(20) NOT NULL,
    total_equity numeric(20, 8) NOT NULL,
    total_wallet_balance numeric(20, 8) NOT NULL,
    total_available_balance numeric(20, 8) NOT NULL,
    total_initial_margin numeric(20, 8) NOT NULL,
    event_timestamp timestamp NOT NULL,
    received_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
    trace_id varchar(100)
);
CREATE INDEX IF NOT EXISTS idx_account_margin_balances_received_at
    ON account_margin_balances (received_at DESC);

CREATE TABLE IF NOT EXISTS instrument_info (
    symbol varchar(20) PRIMARY KEY,
    base_coin varchar(10) NOT NULL,
    quote_coin varchar(10) NOT NULL,
    lot_size numeric(20, 8) NOT NULL CHECK (lot_size > 0),
    min_order_qty numeric(20, 8) NOT NULL CHECK (min_order_qty > 0),
    min_order_value numeric(20, 8) NOT NULL CHECK (min_order_value >= 0),
    price_tick_size numeric(20, 8) NOT NULL CHECK (price_tick_size > 0),
    updated_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc')
);

-- Closed rows stay with size 0 and are used again for the asset's next position.
CREATE TABLE IF NOT EXISTS positions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    asset varchar(20) NOT NULL,
    mode varchar(20) NOT NULL DEFAULT 'one-way' CHECK (mode IN ('one-way', 'hedge')),
    size numeric(20, 8) NOT NULL DEFAULT 0,
    average_entry_price numeric(20, 8) CHECK (average_entry_price IS NULL OR average_entry_price > 0),
    current_price numeric(20, 8) CHECK (current_price IS NULL OR current_price > 0),
    unrealized_pnl numeric(20, 8) NOT NULL DEFAULT 0,
    realized_pnl numeric(20, 8) NOT NULL DEFAULT 0,
    long_size numeric(20, 8),
    short_size numeric(20, 8),
    version integer NOT NULL DEFAULT 1,
    last_updated timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
    closed_at timestamp,
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
    UNIQUE (asset, mode)
);

-- What the Position Manager has booked of each order: events are cumulative and may come twice.
CREATE TABLE IF NOT EXISTS position_fills (
    order_id varchar(100) PRIMARY KEY,
    quantity numeric(20, 8) NOT NULL CHECK (quantity > 0),
    notional numeric(36, 16) NOT NULL CHECK (notional > 0),
    booked_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc')
);
