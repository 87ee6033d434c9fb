package d1

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// helmMigrations are the migrations of the product in testdata.
func helmMigrations(t testing.TB) []Migration {
	t.Helper()
	names, err := filepath.Glob("../../testdata/helm/migrations/*.sql")
	if err != nil || len(names) != 16 {
		t.Fatalf("%d migrations of Helm, want 16: %v", len(names), err)
	}
	slices.Sort(names)
	var out []Migration
	for _, name := range names {
		sql, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		base := filepath.Base(name)
		out = append(out, Migration{Name: base, Path: "migrations/" + base, SQL: string(sql)})
	}
	return out
}

// shop is a live schema that most cases start from.
const shop = `
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, phone TEXT, status TEXT NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'known')));
CREATE INDEX customers_name ON customers (name);
CREATE TABLE bikes (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), serial TEXT UNIQUE, color TEXT);
CREATE TABLE "order" (id INTEGER PRIMARY KEY AUTOINCREMENT, "group" TEXT, total INTEGER NOT NULL DEFAULT 0);
CREATE VIEW owners AS SELECT c.id, c.name, b.serial FROM customers c JOIN bikes b ON b.customer_id = c.id;
CREATE TRIGGER bikes_gone AFTER DELETE ON bikes BEGIN UPDATE customers SET status = 'known' WHERE id = OLD.customer_id; END;
`

// rides go with their bikes.
const rides = "CREATE TABLE rides (id INTEGER PRIMARY KEY, bike_id INTEGER REFERENCES bikes (id) ON DELETE CASCADE);"

func objectsOf(t testing.TB, sql string) []Object {
	t.Helper()
	db := open(t)
	query(t, db, sql)
	list, err := db.Objects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestRehearse(t *testing.T) {
	for _, test := range []struct {
		name string
		sql  string
		// want is "phase" and the changes, then one line per finding: "level rule line message".
		want string
	}{
		{"a new table", "CREATE TABLE gifts (id INTEGER PRIMARY KEY, code TEXT UNIQUE);\nINSERT INTO gifts VALUES (1, 'a');", `
			expand: creates table gifts`},
		{"a new column", "ALTER TABLE customers ADD COLUMN points INTEGER NOT NULL DEFAULT 0;", `
			expand: adds column customers.points`},
		{"a required column", "ALTER TABLE customers ADD COLUMN points INTEGER NOT NULL;", `
			expand: adds column customers.points, NOT NULL without a default
			error migration-mixed 1 m.sql gives the next release something and takes something from the running one, so it can go out neither before nor after the release
			error migration-data-dependent 1 adds column customers.points, NOT NULL without a default: 7 rows in the way`},
		{"a dropped column", "ALTER TABLE customers DROP COLUMN phone;", `
			contract: drops column customers.phone
			notice migration-incompatible 1 drops column customers.phone: the release that runs today may use it, so the file is applied after the next release has passed its gate
			error migration-destructive 1 drops column customers.phone: 7 rows would go`},
		{"a dropped column, with the reason", "-- shopfleet: destructive because nobody reads it\nALTER TABLE customers DROP COLUMN phone;", `
			contract: drops column customers.phone
			notice migration-incompatible 2 drops column customers.phone: the release that runs today may use it, so the file is applied after the next release has passed its gate
			warning migration-destructive 2 drops column customers.phone: 7 rows would go`},
		{"a dropped table", "DROP VIEW owners;\nDROP TABLE bikes;", `
			contract: drops view owners | drops table bikes
			notice migration-incompatible 1 drops view owners: the release that runs today may use it, so the file is applied after the next release has passed its gate
			notice migration-incompatible 2 drops table bikes: the release that runs today may use it, so the file is applied after the next release has passed its gate
			error migration-destructive 2 drops table bikes: 7 rows would go`},
		{"a renamed column", "ALTER TABLE customers RENAME COLUMN phone TO mobile;", `
			expand: renames column customers.phone to mobile
			error migration-mixed 1 m.sql gives the next release something and takes something from the running one, so it can go out neither before nor after the release`},
		{"a renamed table, for a moment", "-- shopfleet: breaking because the shops are closed\nALTER TABLE \"order\" RENAME TO orders;", `
			expand: renames table order to orders`},
		{"a rebuild that keeps everything", `PRAGMA defer_foreign_keys = on;
			DROP VIEW owners;
			CREATE TABLE copy AS SELECT * FROM customers;
			DROP TABLE customers;
			CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, phone TEXT, status TEXT NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'known', 'gone')));
			INSERT INTO customers SELECT * FROM copy;
			DROP TABLE copy;
			CREATE INDEX customers_name ON customers (name);
			CREATE VIEW owners AS SELECT c.id, c.name, b.serial FROM customers c JOIN bikes b ON b.customer_id = c.id;`, `
			expand: rebuilds table customers | changes CHECK (status in ('new', 'known')) of customers to (status in ('new', 'known', 'gone')) | creates index customers_name
			notice migration-rewrite 4 rebuilds table customers: writes 7 rows again`},
		{"a rebuild that forgets the rows", "DROP TABLE \"order\";\nCREATE TABLE \"order\" (id INTEGER PRIMARY KEY AUTOINCREMENT, \"group\" TEXT, total INTEGER NOT NULL DEFAULT 0);", `
			contract: rebuilds table order | rebuilds order without all of its rows
			notice migration-incompatible 1 rebuilds order without all of its rows: the release that runs today may use it, so the file is applied after the next release has passed its gate
			notice migration-rewrite 1 rebuilds table order: writes 7 rows again
			error migration-destructive 1 rebuilds order without all of its rows: 7 rows would go`},
		{"a rebuild that forgets a column", "CREATE TABLE n (id INTEGER PRIMARY KEY AUTOINCREMENT, \"group\" TEXT, total INTEGER NOT NULL DEFAULT 0);\nINSERT INTO n (id, total) SELECT id, total FROM \"order\";\nDROP TABLE \"order\";\nALTER TABLE n RENAME TO \"order\";", `
			contract: rebuilds table order | does not carry over the values of order.group
			notice migration-incompatible 3 does not carry over the values of order.group: the release that runs today may use it, so the file is applied after the next release has passed its gate
			notice migration-rewrite 3 rebuilds table order: writes 7 rows again
			error migration-destructive 3 does not carry over the values of order.group: 7 rows would go`},
		{"a rebuild that breaks references", "CREATE TABLE n (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, phone TEXT, status TEXT NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'known')));\nINSERT INTO n SELECT * FROM customers;\nDROP VIEW owners; DROP TRIGGER bikes_gone;\nDROP TABLE customers;\nALTER TABLE n RENAME TO customers;\nCREATE INDEX customers_name ON customers (name);\nCREATE VIEW owners AS SELECT c.id, c.name, b.serial FROM customers c JOIN bikes b ON b.customer_id = c.id;", `
			expand: drops trigger bikes_gone | rebuilds table customers | creates index customers_name
			notice migration-rewrite 4 rebuilds table customers: writes 7 rows again
			error migration-foreign-key 4 fails once there are rows (FOREIGN KEY constraint failed: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_FOREIGNKEY)): 7 rows in the way
			warning migration-overwrites 4 whether all rows of customers come along could not be shown in 7 rows`},
		{"a unique index on live rows", "CREATE UNIQUE INDEX customers_email ON customers (email) WHERE email <> '';", `
			contract: creates index customers_email | wants email of customers to be unique
			notice migration-incompatible 1 wants email of customers to be unique: the release that runs today may use it, so the file is applied after the next release has passed its gate
			error migration-data-dependent 1 wants email of customers to be unique: 7 rows in the way`},
		{"a unique index on a new column", "ALTER TABLE customers ADD COLUMN slug TEXT;\nCREATE UNIQUE INDEX customers_slug ON customers (slug);", `
			expand: adds column customers.slug | creates index customers_slug | wants slug of customers to be unique`},
		{"deleted rows", "DELETE FROM bikes WHERE color IS NULL -- all of them\n;", `
			contract: deletes rows of bikes
			notice migration-incompatible 1 deletes rows of bikes: the release that runs today may use it, so the file is applied after the next release has passed its gate
			error migration-destructive 1 deletes rows of bikes: 7 rows would go`},
		{"all rows deleted", "DELETE FROM bikes;", `
			contract: deletes rows of bikes
			notice migration-incompatible 1 deletes rows of bikes: the release that runs today may use it, so the file is applied after the next release has passed its gate
			error migration-destructive 1 deletes rows of bikes: 7 rows would go`},
		{"a backfill", "ALTER TABLE customers ADD COLUMN slug TEXT;\nUPDATE customers SET slug = lower(name);", `
			expand: adds column customers.slug | updates rows of customers`},
		{"a table that views and triggers use", "DROP TABLE bikes;", `
			contract: drops table bikes
			error migration-breaks-schema 1 view owners does not work any more: no such table: main.bikes
			notice migration-incompatible 1 drops table bikes: the release that runs today may use it, so the file is applied after the next release has passed its gate
			error migration-destructive 1 drops table bikes: 7 rows would go`},
		{"a table that a trigger of another uses", "DROP VIEW owners; DROP TABLE customers;", `
			contract: drops table customers | drops view owners
			error migration-foreign-key 1 customer_id of bikes refers to customers, which does not exist
			error migration-breaks-schema 1 nothing can be written to bikes any more, because of its triggers: no such table: main.customers
			notice migration-incompatible 1 drops table customers: the release that runs today may use it, so the file is applied after the next release has passed its gate
			notice migration-incompatible 1 drops view owners: the release that runs today may use it, so the file is applied after the next release has passed its gate
			error migration-destructive 1 drops table customers: 7 rows would go
			error migration-foreign-key 1 fails once there are rows (FOREIGN KEY constraint failed: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_FOREIGNKEY)): 7 rows in the way`},
		{"values taken away", "UPDATE customers SET phone = NULL, email = NULL WHERE name = 'x';", `
			contract: updates rows of customers | takes the values of customers.phone away | takes the values of customers.email away
			notice migration-incompatible 1 takes the values of customers.phone away: the release that runs today may use it, so the file is applied after the next release has passed its gate
			notice migration-incompatible 1 takes the values of customers.email away: the release that runs today may use it, so the file is applied after the next release has passed its gate
			error migration-destructive 1 takes the values of customers.phone away: 7 rows would go
			error migration-destructive 1 takes the values of customers.email away: 7 rows would go`},
		{"replaced rows", "INSERT OR REPLACE INTO customers (id, name) VALUES (1, 'x');", `
			expand: inserts into customers
			warning migration-overwrites 1 replaces rows of customers that have the same key`},
		{"rows deleted up to a limit", "-- shopfleet: destructive because of a test\nDELETE FROM bikes LIMIT 5;", `
			contract: deletes rows of bikes
			notice migration-incompatible 2 deletes rows of bikes: the release that runs today may use it, so the file is applied after the next release has passed its gate
			warning migration-destructive 2 deletes rows of bikes, and what is in it would go`},
		{"an explanation", "EXPLAIN DROP TABLE customers; DROP TRIGGER bikes_gone; DROP INDEX customers_name;", `
			expand: drops trigger bikes_gone | drops index customers_name`},
		{"a rebuild under rows that cascade", "PRAGMA foreign_keys=OFF;\nDROP VIEW owners;\nCREATE TABLE n (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), serial TEXT UNIQUE, color TEXT);\nINSERT INTO n SELECT * FROM bikes;\nDROP TABLE bikes;\nALTER TABLE n RENAME TO bikes;\nCREATE VIEW owners AS SELECT c.id, c.name, b.serial FROM customers c JOIN bikes b ON b.customer_id = c.id;\nCREATE TRIGGER bikes_gone AFTER DELETE ON bikes BEGIN UPDATE customers SET status = 'known' WHERE id = OLD.customer_id; END;", `
			contract: rows of rides go, by a trigger or because those they refer to go (PRAGMA foreign_keys has no effect in D1) | rebuilds table bikes | creates trigger bikes_gone
			notice migration-incompatible 1 rows of rides go, by a trigger or because those they refer to go (PRAGMA foreign_keys has no effect in D1): the release that runs today may use it, so the file is applied after the next release has passed its gate
			error migration-destructive 1 rows of rides go, by a trigger or because those they refer to go (PRAGMA foreign_keys has no effect in D1): 7 rows would go
			notice migration-rewrite 5 rebuilds table bikes: writes 7 rows again`},
		{"a rebuild that filters", "CREATE TABLE n (id INTEGER PRIMARY KEY AUTOINCREMENT, \"group\" TEXT, total INTEGER NOT NULL DEFAULT 0);\nINSERT INTO n SELECT * FROM \"order\" WHERE \"group\" <> 'x';\nDROP TABLE \"order\";\nALTER TABLE n RENAME TO \"order\";", `
			contract: rebuilds order from a selection of its rows | rebuilds table order
			notice migration-incompatible 2 rebuilds order from a selection of its rows: the release that runs today may use it, so the file is applied after the next release has passed its gate
			error migration-destructive 2 rebuilds order from a selection of its rows: 7 rows would go
			notice migration-rewrite 3 rebuilds table order: writes 7 rows again`},
		{"a rebuild that mixes columns up", "CREATE TABLE n (id INTEGER PRIMARY KEY AUTOINCREMENT, \"group\" TEXT, total INTEGER NOT NULL DEFAULT 0);\nINSERT INTO n SELECT id, total, id FROM \"order\";\nDROP TABLE \"order\";\nALTER TABLE n RENAME TO \"order\";", `
			expand: rebuilds table order
			notice migration-rewrite 3 rebuilds table order: writes 7 rows again
			warning migration-overwrites 3 does not take over the values of order.group as they are in 7 rows
			warning migration-overwrites 3 does not take over the values of order.total as they are in 7 rows`},
		{"a rebuild by renaming first", "ALTER TABLE \"order\" RENAME TO old;\nCREATE TABLE \"order\" (id INTEGER PRIMARY KEY AUTOINCREMENT, \"group\" TEXT, total INTEGER);\nINSERT INTO \"order\" SELECT * FROM old;\nDROP TABLE old;", `
			expand: rebuilds table order | allows NULL in order.total | changes the default of order.total from 0 to none
			notice migration-rewrite 4 rebuilds table order: writes 7 rows again`},
		{"missing values dealt with", "CREATE TABLE n (id INTEGER PRIMARY KEY AUTOINCREMENT, \"group\" TEXT NOT NULL DEFAULT '', total INTEGER NOT NULL DEFAULT 0);\nINSERT INTO n SELECT id, coalesce(\"group\", ''), total FROM \"order\";\nDROP TABLE \"order\";\nALTER TABLE n RENAME TO \"order\";", `
			contract: rebuilds table order | forbids NULL in order.group | changes the default of order.group from none to ''
			notice migration-incompatible 3 forbids NULL in order.group: the release that runs today may use it, so the file is applied after the next release has passed its gate
			notice migration-rewrite 3 rebuilds table order: writes 7 rows again`},
		{"unique without regard to case", "CREATE UNIQUE INDEX e ON customers (email COLLATE NOCASE);", `
			contract: creates index e | wants email of customers to be unique
			notice migration-incompatible 1 wants email of customers to be unique: the release that runs today may use it, so the file is applied after the next release has passed its gate
			error migration-data-dependent 1 wants email of customers to be unique: 7 rows in the way`},
		{"doubles deleted first", "-- shopfleet: destructive because they are doubles\nDELETE FROM customers WHERE id NOT IN (SELECT min(id) FROM customers GROUP BY email);\nCREATE UNIQUE INDEX e ON customers (email);", `
			contract: deletes rows of customers | creates index e | wants email of customers to be unique
			notice migration-incompatible 2 deletes rows of customers: the release that runs today may use it, so the file is applied after the next release has passed its gate
			warning migration-destructive 2 deletes rows of customers: 7 rows would go
			notice migration-incompatible 3 wants email of customers to be unique: the release that runs today may use it, so the file is applied after the next release has passed its gate
			warning migration-data-dependent 3 wants email of customers to be unique: 7 rows in the way today, before the statements that come first`},
		{"values computed from others, unique", "ALTER TABLE customers ADD COLUMN slug TEXT;\nUPDATE customers SET slug = lower(name);\nCREATE UNIQUE INDEX s ON customers (slug);", `
			expand: adds column customers.slug | updates rows of customers | creates index s | wants slug of customers to be unique`},
		{"values that made-up rows do not have", "ALTER TABLE customers ADD COLUMN city TEXT;\nUPDATE customers SET city = json_extract(phone, '$.city') WHERE phone IS NOT NULL;", `
			expand: adds column customers.city | updates rows of customers
			warning migration-data-dependent 2 fails on made-up rows (malformed JSON: SQLITE_ERROR): whether rows stand in the way is not known`},
		{"an update behind WITH", "WITH x AS (SELECT 1) UPDATE customers SET phone = NULL;", `
			contract: updates rows of customers | takes the values of customers.phone away
			notice migration-incompatible 1 takes the values of customers.phone away: the release that runs today may use it, so the file is applied after the next release has passed its gate
			error migration-destructive 1 takes the values of customers.phone away, and what is in it would go`},
		{"rows deleted by a trigger", "CREATE TRIGGER purge AFTER UPDATE ON \"order\" BEGIN DELETE FROM rides; END;\nUPDATE \"order\" SET total = total;\nDROP TRIGGER purge;", `
			contract: creates trigger purge | rows of rides go, by a trigger or because those they refer to go (PRAGMA foreign_keys has no effect in D1) | updates rows of order | drops trigger purge
			notice migration-incompatible 1 rows of rides go, by a trigger or because those they refer to go (PRAGMA foreign_keys has no effect in D1): the release that runs today may use it, so the file is applied after the next release has passed its gate
			error migration-destructive 1 rows of rides go, by a trigger or because those they refer to go (PRAGMA foreign_keys has no effect in D1): 7 rows would go
			warning migration-overwrites 2 overwrites total of order in 7 rows`},
		{"rows deleted with those that follow", "-- shopfleet: destructive because of a test\nDELETE FROM bikes WHERE color = 'x';", `
			contract: deletes rows of bikes and, by ON DELETE CASCADE, of rides
			notice migration-incompatible 2 deletes rows of bikes and, by ON DELETE CASCADE, of rides: the release that runs today may use it, so the file is applied after the next release has passed its gate
			warning migration-destructive 2 deletes rows of bikes and, by ON DELETE CASCADE, of rides: 7 rows would go`},
		{"a trigger that refuses", "CREATE TRIGGER no BEFORE INSERT ON bikes BEGIN SELECT RAISE(ABORT, 'no'); END;", `
			contract: creates trigger no
			notice migration-incompatible 1 creates trigger no: the release that runs today may use it, so the file is applied after the next release has passed its gate`},
		{"a comment that never closes", "CREATE TABLE a (x); /* the end", `
			error migration-unreadable 1 the SQL is not complete: line 1: /* never closes`},
		{"another encoding", "CREATE TABLE a (x);\nINSERT INTO a VALUES ('caf\xe9');", `
			error migration-unreadable 2 m.sql is not UTF-8, and travels as JSON`},
		{"statistics", "ANALYZE;", `
			expand:`},
		{"rows exchanged for others", "DELETE FROM \"order\";\nINSERT INTO \"order\" (id, \"group\", total) VALUES (1, 'a', 1), (2, 'b', 2);", `
			contract: deletes rows of order | inserts into order
			notice migration-incompatible 1 deletes rows of order: the release that runs today may use it, so the file is applied after the next release has passed its gate
			error migration-destructive 1 deletes rows of order: 7 rows would go`},
		{"a rebuild that leaves an index and a trigger out", "CREATE TABLE n (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), serial TEXT UNIQUE, color TEXT) STRICT;\nINSERT INTO n SELECT * FROM bikes;\nDROP VIEW owners;DROP TABLE bikes;\nALTER TABLE n RENAME TO bikes;\nCREATE VIEW owners AS SELECT c.id, c.name, b.serial FROM customers c JOIN bikes b ON b.customer_id = c.id;", `
			expand: rebuilds table bikes | declares table bikes as strict, which was none | rebuilds bikes without its trigger bikes_gone
			warning migration-rewrite 3 rebuilds bikes without its trigger bikes_gone
			notice migration-rewrite 3 rebuilds table bikes: writes 7 rows again
			warning migration-data-dependent 3 declares table bikes as strict, which was none: whether rows stand in the way is not known`},
		{"overwritten values", "UPDATE customers SET phone = trim(phone) WHERE phone IS NOT NULL;", `
			expand: updates rows of customers
			warning migration-overwrites 1 overwrites phone of customers in 7 rows`},
		{"a narrower check", "DROP VIEW owners;PRAGMA defer_foreign_keys = on;\nCREATE TABLE copy AS SELECT * FROM customers;\nDROP TABLE customers;\nCREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, phone TEXT, status TEXT NOT NULL DEFAULT 'new' CHECK (status IN ('new')));\nINSERT INTO customers SELECT * FROM copy;\nDROP TABLE copy;CREATE VIEW owners AS SELECT c.id, c.name, b.serial FROM customers c JOIN bikes b ON b.customer_id = c.id;", `
			contract: rebuilds table customers | changes CHECK (status in ('new', 'known')) of customers to (status in ('new')) | rebuilds customers without its index customers_name
			warning migration-rewrite 3 rebuilds customers without its index customers_name
			notice migration-incompatible 3 changes CHECK (status in ('new', 'known')) of customers to (status in ('new')): the release that runs today may use it, so the file is applied after the next release has passed its gate
			notice migration-rewrite 3 rebuilds table customers: writes 7 rows again
			error migration-data-dependent 3 changes CHECK (status in ('new', 'known')) of customers to (status in ('new')): 7 rows in the way`},
		{"a view with less", "DROP VIEW owners;\nCREATE VIEW owners AS SELECT id, name FROM customers;", `
			contract: makes view owners anew, without serial
			notice migration-incompatible 1 makes view owners anew, without serial: the release that runs today may use it, so the file is applied after the next release has passed its gate`},
		{"a denied column", "CREATE TABLE notes (id INTEGER PRIMARY KEY, Tenant_ID TEXT);", `
			expand: creates table notes
			error denied-column 1 table notes has a column Tenant_ID`},
		{"a broken reference", "CREATE TABLE notes (id INTEGER PRIMARY KEY, c REFERENCES nobody (id), d REFERENCES customers (email));", `
			expand: creates table notes
			error migration-foreign-key 1 d of notes refers to customers (email), which does not identify its rows
			error migration-foreign-key 1 c of notes refers to nobody, which does not exist`},
		{"no semicolon", "CREATE INDEX bikes_color ON bikes (color)\n-- the end", `
			expand: creates index bikes_color
			warning migration-no-semicolon 1 the last statement of m.sql has no semicolon`},
		{"what D1 refuses", "CREATE TABLE a (x);\n\n  BEGIN;\nCOMMIT;", `
			error migration-failed 3 D1 would refuse m.sql: To execute a transaction, please use the state.storage.transaction()`},
		{"what fails", "CREATE TABLE a (x);\nALTER TABLE customers\n  DROP COLUMN nope;", `
			error migration-failed 3 D1 would refuse m.sql: no such column: "nope" at offset 36: SQLITE_ERROR`},
		{"over a limit", "SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6;", `
			error migration-over-limit 1 D1 would refuse m.sql: too many terms in compound SELECT: SQLITE_ERROR`},
		{"a file over the limit of a call", "CREATE TABLE a (x);\n" + strings.Repeat("INSERT INTO a VALUES ('"+strings.Repeat("x", 988)+"');\n", 98), `
			expand: creates table a
			warning migration-over-limit 1 m.sql has 99490 bytes, and D1's engine counts its limit of 100000 over the whole text of a call`},
		{"an open quote", "CREATE TABLE a (x);\nINSERT INTO a VALUES ('x);", `
			error migration-unreadable 2 the SQL is not complete: line 2: ' never closes`},
		{"a typing error in a directive", "-- shopfleet: destructve because\nSELECT 1;", `
			expand:
			warning migration-directive 1 shopfleet does not understand "destructve because"`},
		{"a directive in a string", "INSERT INTO \"order\" (\"group\") VALUES ('-- shopfleet: destructive because x');\nDROP TABLE \"order\";", `
			contract: inserts into order | drops table order
			notice migration-incompatible 2 drops table order: the release that runs today may use it, so the file is applied after the next release has passed its gate
			error migration-destructive 2 drops table order: 7 rows would go`},
		{"nothing at all", "-- nothing\n", `
			expand:`},
	} {
		t.Run(test.name, func(t *testing.T) {
			schema := shop
			if strings.Contains(test.want, "rides") {
				schema += rides
			}
			r, err := Rehearse(t.Context(), Case{
				Schema: objectsOf(t, schema), Running: true, DenyColumns: []string{"tenant_id"},
				Pending: []Migration{{Name: "m.sql", Path: "migrations/m.sql", SQL: strings.ReplaceAll(test.sql, "\n\t\t\t", "\n")}},
			})
			if err != nil {
				t.Fatal(err)
			}
			answers := make([]int64, len(r.Questions()))
			live := open(t)
			query(t, live, schema)
			for i, q := range r.Questions() {
				if _, err := live.Query(t.Context(), q); err != nil {
					t.Errorf("the live database does not understand %q: %v", q, err)
				}
				answers[i] = 7
			}
			got := describeRehearsal(r, answers)
			want := strings.TrimSpace(strings.ReplaceAll(test.want, "\n\t\t\t", "\n"))
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// describeRehearsal writes a rehearsal in the form of the table above.
func describeRehearsal(r *Rehearsal, answers []int64) string {
	var lines []string
	for _, f := range r.Files {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s: %s", f.Phase, strings.Join(f.Changes, " | "))))
	}
	findings := r.Findings(answers, false)
	for _, f := range findings {
		message := f.Message
		if i := strings.Index(message, " or state.storage"); i >= 0 {
			message = message[:i]
		}
		lines = append(lines, fmt.Sprintf("%s %s %d %s", f.Level, f.Rule, f.Line, message))
	}
	return strings.Join(lines, "\n")
}

// Files of which one writes what another touches keep their order, and wait.
func TestRehearseOrder(t *testing.T) {
	schema := objectsOf(t, shop)
	run := func(files ...string) *Rehearsal {
		t.Helper()
		c := Case{Schema: schema, Running: true}
		for i, sql := range files {
			name := fmt.Sprintf("%d.sql", i+1)
			c.Pending = append(c.Pending, Migration{Name: name, Path: name, SQL: sql})
		}
		r, err := Rehearse(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	order := func(r *Rehearsal) string {
		var names []string
		for _, f := range r.Files {
			names = append(names, f.Name+" "+string(f.Phase))
		}
		return strings.Join(names, ", ")
	}
	refused := func(r *Rehearsal) bool {
		return slices.ContainsFunc(r.Findings(nil, true), func(f Finding) bool { return f.Rule == "migration-order" })
	}
	if r := run("ALTER TABLE customers DROP COLUMN phone;", "ALTER TABLE customers ADD COLUMN points INT;"); refused(r) || order(r) != "2.sql expand, 1.sql contract" {
		t.Errorf("a column less and one more: %s, refused %t", order(r), refused(r))
	}
	if r := run("DELETE FROM customers;", "INSERT INTO customers (name) VALUES ('a');"); !refused(r) {
		t.Errorf("rows deleted, and others put there: %s", order(r))
	}
	if r := run("DROP VIEW owners;", "CREATE VIEW owners AS SELECT 1 AS id, 2 AS name, 3 AS serial;"); !refused(r) && order(r) != "1.sql expand, 2.sql expand" {
		t.Errorf("a view made anew in another file: %s", order(r))
	}
	if r := run("ALTER TABLE customers ADD COLUMN a INT;", "ALTER TABLE customers DROP COLUMN phone;"); refused(r) || order(r) != "1.sql expand, 2.sql contract" {
		t.Errorf("in order: %s", order(r))
	}
}

// A table of 100 columns is as wide as D1 allows, and so are our own questions about it.
func TestRehearseWide(t *testing.T) {
	var columns []string
	for i := range 100 {
		columns = append(columns, fmt.Sprintf("c%d TEXT", i))
	}
	r, err := Rehearse(t.Context(), Case{Schema: objectsOf(t, "CREATE TABLE wide ("+strings.Join(columns, ", ")+")"), Running: true,
		Pending: []Migration{{Name: "1.sql", SQL: "UPDATE wide SET c1 = 'x' WHERE c2 IS NULL; CREATE INDEX i ON wide (c3);"}}})
	if err != nil || len(r.Files) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// A shop with full-text search has tables in its catalogue that only a virtual table can make.
func TestRehearseWithFullText(t *testing.T) {
	objects := objectsOf(t, shop+`CREATE VIRTUAL TABLE found USING fts5(name, content='customers', content_rowid='id'); CREATE VIRTUAL TABLE notes USING fts5(body);
		CREATE TRIGGER customers_found AFTER INSERT ON customers BEGIN INSERT INTO found(rowid, name) VALUES (NEW.id, NEW.name); END;`)
	r, err := Rehearse(t.Context(), Case{Schema: objects, Running: true, Pending: []Migration{{Name: "1.sql", Path: "1.sql", SQL: "ALTER TABLE customers ADD COLUMN x TEXT; INSERT INTO notes (body) VALUES ('a');"}, {Name: "2.sql", Path: "2.sql", SQL: "DROP TABLE notes;"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := "expand: adds column customers.x | inserts into notes\ncontract: drops table notes\n" +
		"notice migration-incompatible 1 drops table notes: the release that runs today may use it, so the file is applied after the next release has passed its gate\n" +
		"error migration-destructive 1 drops table notes: 3 rows would go"
	if got := describeRehearsal(r, []int64{3}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	s, err := SchemaOf(t.Context(), objects)
	if err != nil || len(s.tables) != 6 {
		t.Errorf("%d tables, %v", len(s.tables), err)
	}
}

func TestRehearseHelm(t *testing.T) {
	files := helmMigrations(t)
	r, err := Rehearse(t.Context(), Case{Pending: files, Running: true, DenyColumns: []string{"tenant_id"}})
	if err != nil {
		t.Fatal(err)
	}
	if f := r.Findings(nil, false); len(f) > 0 || len(r.Files) != 16 {
		t.Errorf("%d files, findings %+v", len(r.Files), f)
	}
	all, err := Replay(t.Context(), files)
	if err != nil || all.Fingerprint() != r.After {
		t.Errorf("the rehearsal ends at %s, a replay at %s, %v", r.After, all.Fingerprint(), err)
	}
	findings, err := Lint(context.Background(), files, "", []string{"tenant_id"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if f.Level != levelNotice {
			t.Errorf("%+v", f)
		}
	}
}

func BenchmarkRehearseHelm(b *testing.B) {
	files := helmMigrations(b)
	for b.Loop() {
		if _, err := Rehearse(b.Context(), Case{Pending: files}); err != nil {
			b.Fatal(err)
		}
	}
}

// What the live rows say decides how loud a finding is.
func TestAnswers(t *testing.T) {
	schema := objectsOf(t, shop)
	for _, tt := range []struct {
		name, sql string
		answer    int64
		want      string // level, rule, message; "" for none
	}{
		{"rows would go", "DELETE FROM bikes;", 1234567, "error migration-destructive deletes rows of bikes: 1,234,567 rows would go"},
		{"a row would go", "DELETE FROM bikes;", 1, "error migration-destructive deletes rows of bikes: 1 row would go"},
		{"nobody can say what would go", "DELETE FROM bikes;", Unknown, "error migration-destructive deletes rows of bikes, and what is in it would go"},
		{"nothing in the way", "CREATE UNIQUE INDEX u ON customers (email);", 0, ""},
		{"rows in the way", "CREATE UNIQUE INDEX u ON customers (email);", 2, "error migration-data-dependent wants email of customers to be unique: 2 rows in the way"},
		{"nobody can say what is in the way", "CREATE UNIQUE INDEX u ON customers (email);", Unknown, "warning migration-data-dependent wants email of customers to be unique: whether rows stand in the way is not known"},
		{"few rows written again", rebuildOrder, manyRows, "notice migration-rewrite rebuilds table order: writes 200,000 rows again"},
		{"many rows written again", rebuildOrder, manyRows + 1, "warning migration-rewrite rebuilds table order: writes 200,001 rows again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Rehearse(t.Context(), Case{Schema: schema, Pending: []Migration{{Name: "m.sql", SQL: tt.sql}}})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Questions()) != 1 {
				t.Fatalf("questions %q, want one", r.Questions())
			}
			var got []string
			for _, f := range r.Findings([]int64{tt.answer}, false) {
				got = append(got, fmt.Sprintf("%s %s %s", f.Level, f.Rule, f.Message))
			}
			if strings.Join(got, "\n") != tt.want {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), tt.want)
			}
		})
	}
}

const rebuildOrder = `CREATE TABLE n (id INTEGER PRIMARY KEY AUTOINCREMENT, "group" TEXT, total INTEGER NOT NULL DEFAULT 0);
INSERT INTO n SELECT * FROM "order";
DROP TABLE "order";
ALTER TABLE n RENAME TO "order";`

// A question is made of parts of the files, and those may name what only an earlier file makes: the live database is not
// asked what it would not understand, nor what it would take for a string.
func TestQuestionsTheLiveDatabaseUnderstands(t *testing.T) {
	for _, tt := range []struct{ where, question string }{
		{"color = 'x'", "SELECT count(*) FROM \"bikes\" WHERE color = 'x'\n"},
		{"sold = 1", "SELECT -1"},
		{`"sold" = 'sold'`, "SELECT -1"},
	} {
		r, err := Rehearse(t.Context(), Case{Schema: objectsOf(t, shop), Running: true, Pending: []Migration{
			{Name: "1.sql", SQL: "ALTER TABLE bikes ADD COLUMN sold TEXT;"},
			{Name: "2.sql", SQL: "DELETE FROM bikes WHERE " + tt.where + ";"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Questions(); len(got) != 1 || got[0] != tt.question {
			t.Errorf("%s: asks %q, want %q", tt.where, got, tt.question)
		}
	}
}

// References that were broken before are not the file's doing.
func TestBrokenBefore(t *testing.T) {
	schema := objectsOf(t, "CREATE TABLE a (x REFERENCES nobody (id)); CREATE TABLE b (y);")
	r, err := Rehearse(t.Context(), Case{Schema: schema, Running: true, Pending: []Migration{{Name: "m.sql", SQL: "CREATE TABLE c (z REFERENCES nowhere (id));"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := describeRehearsal(r, nil); strings.Count(got, "migration-foreign-key") != 1 || !strings.Contains(got, "z of c refers to nowhere") {
		t.Errorf("got\n%s\nwant one reference, of c", got)
	}
}

// What stands behind a file that fails builds on it, and is named as not looked at.
func TestLintBehindAFailure(t *testing.T) {
	files := []Migration{{Name: "1.sql", Path: "m/1.sql", SQL: "CREATE TABLE a (x);"}, {Name: "2.sql", Path: "m/2.sql", SQL: "DROP TABLE nope;"}, {Name: "3.sql", Path: "m/3.sql", SQL: "CREATE TABLE c (tenant_id);"}}
	findings, err := Lint(t.Context(), files, "", []string{"tenant_id"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range findings {
		got = append(got, f.Level+" "+f.Rule+" "+f.File)
	}
	if want := []string{"error migration-failed m/2.sql", "notice migration-unread m/3.sql"}; !slices.Equal(got, want) {
		t.Errorf("findings %q, want %q", got, want)
	}
}

// A column that may not be is told once, of the file that makes it, and of no file when it was there before.
func TestDeniedColumnOnce(t *testing.T) {
	files := []Migration{{Name: "1.sql", Path: "1.sql", SQL: "CREATE TABLE a (x, tenant_id);"}, {Name: "2.sql", Path: "2.sql", SQL: "ALTER TABLE a ADD COLUMN y;"}, {Name: "3.sql", Path: "3.sql", SQL: "CREATE INDEX i ON a (y);"}}
	for after, want := range map[string][]string{"": {"1.sql"}, "1.sql": {""}} {
		findings, err := Lint(t.Context(), files, after, []string{"tenant_id"})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range findings {
			if f.Rule == "denied-column" {
				got = append(got, f.File)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("after %q: told of %q, want %q", after, got, want)
		}
	}
}
