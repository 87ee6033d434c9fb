-- Who did what. Rows are written, read and, when old enough, purged; they are never changed.
CREATE TABLE audit_log (
  id       INTEGER PRIMARY KEY,
  staff_id INTEGER REFERENCES staff (id) ON DELETE SET NULL, -- NULL: the system did it, or the person was removed
  action   TEXT NOT NULL,
  subject  TEXT NOT NULL DEFAULT '',
  detail   TEXT NOT NULL DEFAULT '',
  at       TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);

CREATE INDEX audit_log_at ON audit_log (at);

CREATE TRIGGER audit_log_is_final BEFORE UPDATE OF action, subject, detail, at ON audit_log
BEGIN
  SELECT RAISE(ABORT, 'the audit log is written once');
END;
