package d1

import (
	"context"
	"strings"
	"testing"
)

func TestFitFiles(t *testing.T) {
	const base = `CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT COLLATE NOCASE, visits INTEGER DEFAULT 0);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id), state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done')));
CREATE UNIQUE INDEX customers_email ON customers (email);
CREATE VIEW open_orders AS SELECT id, customer_id FROM orders WHERE state = 'open';
CREATE TRIGGER order_visits AFTER INSERT ON orders BEGIN UPDATE customers SET visits = visits + 1 WHERE id = NEW.customer_id; END;`
	tests := []struct{ name, then, lacks, while string }{
		{"nothing", "", "", ""},
		{"a column", "ALTER TABLE orders ADD COLUMN note TEXT;", "", ""},
		{"a column with a default", "ALTER TABLE orders ADD COLUMN n INTEGER NOT NULL DEFAULT 3 CHECK (n > 2);", "", ""},
		{"an index", "CREATE INDEX o ON orders (state);", "", ""},
		{"a table", "CREATE TABLE gifts (id INTEGER PRIMARY KEY, note TEXT NOT NULL);", "", ""},
		{"a table that refers", "CREATE TABLE gifts (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id));", "", "rows of gifts refer to customers"},
		{"a reference of an old table", "ALTER TABLE orders ADD COLUMN giver INTEGER REFERENCES customers (id);", "", "rows of orders refer to customers"},
		{"a column gone", "DROP TRIGGER order_visits; ALTER TABLE customers DROP COLUMN visits;", "column customers.visits is gone", ""},
		{"a column renamed", "DROP TRIGGER order_visits; ALTER TABLE customers RENAME COLUMN visits TO calls;", "column customers.visits is gone", ""},
		{"a table gone", "DROP VIEW open_orders; DROP TABLE orders;", "table orders is gone", ""},
		{"a view gone", "DROP VIEW open_orders;", "view open_orders is gone", ""},
		{"a trigger gone", "DROP TRIGGER order_visits;", "trigger order_visits of orders is gone", ""},
		{"a new trigger", "CREATE TRIGGER no BEFORE DELETE ON orders BEGIN SELECT RAISE(ABORT, 'kept'); END;", "trigger no is new", ""},
		{"a new unique", "CREATE UNIQUE INDEX one ON orders (customer_id);", "(customer_id) of orders must be unique now", ""},
		{"a unique gone", "DROP INDEX customers_email;", "(email) of customers is not unique any more", ""},
		{"must have a value", `CREATE TABLE n (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL COLLATE NOCASE, visits INTEGER DEFAULT 0);
			DROP TRIGGER order_visits; DROP TABLE customers; ALTER TABLE n RENAME TO customers; CREATE UNIQUE INDEX customers_email ON customers (email);`, "column customers.email must have a value now", ""},
		{"a new column without a default", `DROP VIEW open_orders; CREATE TABLE n (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id), state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done')), by TEXT NOT NULL);
			DROP TABLE orders; ALTER TABLE n RENAME TO orders; CREATE VIEW open_orders AS SELECT id, customer_id FROM orders WHERE state = 'open';
			CREATE TRIGGER order_visits AFTER INSERT ON orders BEGIN UPDATE customers SET visits = visits + 1 WHERE id = NEW.customer_id; END;`, "column orders.by is new, must have a value", ""},
		{"a new check", `DROP VIEW open_orders; CREATE TABLE n (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id), state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')));
			DROP TABLE orders; ALTER TABLE n RENAME TO orders; CREATE VIEW open_orders AS SELECT id, customer_id FROM orders WHERE state = 'open';
			CREATE TRIGGER order_visits AFTER INSERT ON orders BEGIN UPDATE customers SET visits = visits + 1 WHERE id = NEW.customer_id; END;`, "table orders has a new check", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := context.Background()
			db, err := Open("")
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			files := []Migration{{Name: "1.sql", SQL: base}}
			for _, f := range append(files, Migration{Name: "2.sql", SQL: tt.then}) {
				if err := db.shape(ctx, f); err != nil {
					t.Fatal(err)
				}
			}
			live, err := db.Objects(ctx)
			if err != nil {
				t.Fatal(err)
			}
			fit, err := FitFiles(ctx, files, live)
			if err != nil {
				t.Fatal(err)
			}
			lacks := strings.Join(fit.Lacks, "; ")
			if (tt.lacks == "") != (lacks == "") || !strings.Contains(lacks, tt.lacks) {
				t.Errorf("lacks %q, want %q", lacks, tt.lacks)
			}
			while := ""
			for _, w := range fit.While {
				while += w.Text
			}
			if (tt.while == "") != (while == "") || !strings.Contains(while, tt.while) {
				t.Errorf("while %q, want %q", while, tt.while)
			}
		})
	}
}
