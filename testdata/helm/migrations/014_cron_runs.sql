-- A cron may be delivered twice; the pair (job, scheduled_at) makes the second delivery recognisable.
CREATE TABLE cron_runs (
  id           INTEGER PRIMARY KEY,
  job          TEXT NOT NULL,
  cron         TEXT NOT NULL,
  scheduled_at TEXT NOT NULL,
  finished_at  TEXT,
  outcome      TEXT NOT NULL DEFAULT 'running' CHECK (outcome IN ('running', 'ok', 'failed')),
  summary      TEXT NOT NULL DEFAULT '',
  UNIQUE (job, scheduled_at)
);

CREATE TABLE daily_closes (
  day         TEXT PRIMARY KEY, -- YYYY-MM-DD, UTC
  sales       INTEGER NOT NULL,
  gross_cents INTEGER NOT NULL,
  tax_cents   INTEGER NOT NULL,
  closed_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) WITHOUT ROWID;
