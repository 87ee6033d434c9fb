package d1

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
)

// shopSchema is what the old code was written for, and oldCode all that it does: it names its columns.
const shopSchema = `CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, visits INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX customers_email ON customers (email);
CREATE TABLE products (sku TEXT PRIMARY KEY, price INTEGER NOT NULL CHECK (price >= 0), kind TEXT NOT NULL DEFAULT 'part' CHECK (kind IN ('part', 'bike')));
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id), sku TEXT REFERENCES products (sku), note TEXT);
CREATE INDEX orders_customer ON orders (customer_id);
CREATE VIEW spent AS SELECT orders.customer_id AS customer_id, sum(products.price) AS cents FROM orders JOIN products ON products.sku = orders.sku GROUP BY orders.customer_id;
CREATE TRIGGER visit AFTER INSERT ON orders BEGIN UPDATE customers SET visits = visits + 1 WHERE id = NEW.customer_id; END;
INSERT INTO customers (id, name, email) VALUES (1, 'Ann', 'a@x'), (2, 'Bob', NULL), (3, 'Cid', 'c@x');
INSERT INTO products (sku, price) VALUES ('T', 100), ('W', 200), ('X', 1);
INSERT INTO orders (id, customer_id, sku) VALUES (1, 1, 'T'), (2, 2, 'W');`

func oldCode(n int) []string {
	return []string{
		fmt.Sprintf("INSERT INTO customers (id, name, email) VALUES (%d, 'New', 'n%d@x')", n, n),
		fmt.Sprintf("INSERT INTO customers (id, name) VALUES (%d, 'Plain')", n+1),
		fmt.Sprintf("INSERT INTO customers (name, email) VALUES ('Up', 'n%d@x') ON CONFLICT (email) DO UPDATE SET name = excluded.name", n),
		fmt.Sprintf("INSERT INTO products (sku, price) VALUES ('S%d', 5)", n),
		fmt.Sprintf("INSERT INTO products (sku, price, kind) VALUES ('K%d', 0, 'bike')", n),
		fmt.Sprintf("INSERT INTO orders (id, customer_id, sku) VALUES (%d, %d, 'S%d')", n, n, n),
		fmt.Sprintf("INSERT INTO orders (id, customer_id) VALUES (%d, %d)", n+1, n),
		fmt.Sprintf("INSERT INTO orders (id) VALUES (%d)", n+2),
		"SELECT id, name, email, visits FROM customers", "SELECT sku, price, kind FROM products", "SELECT id, customer_id, sku, note FROM orders",
		"SELECT customer_id, cents FROM spent",
		"SELECT customers.name, orders.id FROM orders JOIN customers ON customers.id = orders.customer_id",
		"UPDATE customers SET name = 'Same', email = NULL WHERE id = 2", "UPDATE orders SET note = NULL, sku = NULL WHERE id = 2", "UPDATE products SET kind = 'bike' WHERE sku = 'W'",
		"DELETE FROM orders WHERE id = 1", "DELETE FROM orders", "DELETE FROM customers WHERE id = 3", "DELETE FROM customers", "DELETE FROM products WHERE sku = 'X'", "DELETE FROM products",
	}
}

// later are changes that the new code's migrations may make, and what it writes then.
var later = []struct{ sql, rows string }{
	{"ALTER TABLE customers ADD COLUMN nick TEXT;", "UPDATE customers SET nick = 'n'"},
	{"ALTER TABLE customers ADD COLUMN level INTEGER NOT NULL DEFAULT 1 CHECK (level > 0);", ""},
	{"ALTER TABLE orders ADD COLUMN state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'shut'));", ""},
	{"ALTER TABLE orders ADD COLUMN clerk INTEGER REFERENCES customers (id);", "UPDATE orders SET clerk = 3 WHERE id = 1"},
	{"ALTER TABLE orders ADD COLUMN total INTEGER AS (id * 2);", ""},
	{"CREATE TABLE gifts (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id));", "INSERT INTO gifts (customer_id) VALUES (3)"},
	{"CREATE TABLE marks (id INTEGER PRIMARY KEY, order_id INTEGER REFERENCES orders (id) ON DELETE CASCADE ON UPDATE CASCADE);", "INSERT INTO marks (order_id) VALUES (1)"},
	{"CREATE TABLE tags (sku TEXT REFERENCES products (sku) ON DELETE SET NULL ON UPDATE CASCADE, word TEXT NOT NULL);", "INSERT INTO tags VALUES ('X', 'w')"},
	{"CREATE TABLE strict_tags (sku TEXT NOT NULL REFERENCES products (sku) ON DELETE SET NULL ON UPDATE CASCADE);", "INSERT INTO strict_tags VALUES ('X')"},
	{"CREATE TABLE boxes (id INTEGER PRIMARY KEY, order_id INTEGER REFERENCES orders (id) ON DELETE CASCADE ON UPDATE CASCADE); CREATE TABLE things (box_id INTEGER REFERENCES boxes (id));",
		"INSERT INTO boxes (id, order_id) VALUES (1, 1); INSERT INTO things VALUES (1)"},
	{"CREATE TABLE seals (order_id INTEGER REFERENCES orders (id) ON DELETE CASCADE ON UPDATE CASCADE); CREATE TRIGGER sealed BEFORE DELETE ON seals BEGIN SELECT RAISE(ABORT, 'sealed'); END;", "INSERT INTO seals VALUES (1)"},
	{"CREATE TABLE logs (id INTEGER PRIMARY KEY, text TEXT NOT NULL);", "INSERT INTO logs (text) VALUES ('x')"},
	{"CREATE INDEX customers_name ON customers (name);", ""},
	{"CREATE UNIQUE INDEX one_name ON customers (name, email);", ""},
	{"CREATE UNIQUE INDEX one_order ON orders (customer_id);", ""},
	{"CREATE UNIQUE INDEX plain ON customers (name) WHERE email IS NULL;", ""},
	{"DROP INDEX customers_email;", ""},
	{"DROP INDEX orders_customer;", ""},
	{"DROP VIEW spent;", ""},
	{"DROP VIEW spent; CREATE VIEW spent AS SELECT customer_id, 0 AS cents, 1 AS more FROM orders;", ""},
	{"DROP VIEW spent; CREATE VIEW spent AS SELECT customer_id FROM orders;", ""},
	{"CREATE TRIGGER kept BEFORE DELETE ON customers BEGIN SELECT RAISE(ABORT, 'kept'); END;", ""},
	{"CREATE TRIGGER noted AFTER INSERT ON products BEGIN UPDATE products SET price = -1 WHERE sku = NEW.sku; END;", ""},
	{"DROP TRIGGER visit;", ""},
	{"ALTER TABLE orders DROP COLUMN note;", ""},
	{"ALTER TABLE orders RENAME COLUMN note TO remark;", ""},
	{"ALTER TABLE orders RENAME TO sales;", ""},
	{"DROP VIEW spent; CREATE TABLE n (sku TEXT PRIMARY KEY, price INTEGER NOT NULL CHECK (price > 1 OR price >= 0), kind TEXT NOT NULL DEFAULT 'part' CHECK (kind IN ('part')));\nINSERT INTO n SELECT sku, price, 'part' FROM products; DROP TABLE products; ALTER TABLE n RENAME TO products;", ""},
	{"DROP VIEW spent; CREATE TABLE n (sku TEXT PRIMARY KEY, price INTEGER NOT NULL CHECK (price >= 0), kind TEXT NOT NULL DEFAULT 'part' CHECK (kind IN ('part', 'bike')), added TEXT NOT NULL);\nINSERT INTO n SELECT sku, price, kind, '' FROM products; DROP TABLE products; ALTER TABLE n RENAME TO products;", ""},
	{"DROP VIEW spent; CREATE TABLE n (sku TEXT PRIMARY KEY, price INTEGER NOT NULL CHECK (price >= 0), kind TEXT CHECK (kind IN ('part', 'bike'))) WITHOUT ROWID;\nINSERT INTO n SELECT sku, price, kind FROM products; DROP TABLE products; ALTER TABLE n RENAME TO products;", ""},
}

// Over random histories: where nothing is lacking, and what matters only with rows has none, everything that the old code
// does goes through on the live database as it did on its own.
func TestFitIsNeverWrong(t *testing.T) {
	ctx := context.Background()
	files := []Migration{{Name: "1.sql", SQL: shopSchema}}
	safe, lacking := 0, 0
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 3))
		db, err := Open("")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Query(ctx, shopSchema); err != nil { // with foreign keys, as in D1
			t.Fatal(err)
		}
		var history []string
		for range 1 + rng.IntN(3) {
			x := later[rng.IntN(len(later))]
			if _, err := db.Query(ctx, "PRAGMA defer_foreign_keys=ON;\n"+x.sql); err != nil {
				continue // it does not go together with what came before
			}
			history = append(history, x.sql)
			if x.rows != "" && rng.IntN(2) == 0 {
				if _, err := db.Query(ctx, x.rows); err == nil {
					history = append(history, x.rows)
				}
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
		fits := len(fit.Lacks) == 0
		for _, w := range fit.While {
			r, err := db.Query(ctx, "SELECT EXISTS (SELECT 1 FROM "+quoteName(w.Table)+")")
			if err != nil {
				t.Fatal(err)
			}
			fits = fits && r[0].Rows[0][0] == int64(0)
		}
		if !fits {
			lacking++
			db.Close()
			continue
		}
		safe++
		for _, sql := range oldCode(100) {
			if _, err := db.Query(ctx, sql); err != nil {
				t.Errorf("seed %d: %s: %v\nafter %q", seed, sql, err, history)
			}
		}
		db.Close()
	}
	if safe < 50 || lacking < 50 {
		t.Errorf("%d are safe, %d are not", safe, lacking)
	}
	t.Logf("%d are safe, %d are not", safe, lacking)
}
