-- Small facts about the shop that the staff may change. The Worker keeps a copy in KV and drops it on every write.
CREATE TABLE settings (
  key        TEXT PRIMARY KEY,
  value      TEXT NOT NULL,
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) WITHOUT ROWID;

INSERT INTO settings (key, value) VALUES
  ('hours', 'Tue-Sat 10:00-18:00'),
  ('receipt_footer', 'Thank you. Keep the rubber side down.'),
  ('sales_tax_bp', '0'), -- basis points: 875 is 8.75 %
  ('turnaround_days', '5');
