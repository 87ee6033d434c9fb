package deploy

import (
	"context"
	"fmt"
	"strings"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// Database is what a shop's D1 says about itself: its catalogue, and which files have been applied to it.
type Database struct {
	// Objects are the catalogue, without what Cloudflare keeps for itself.
	Objects []d1.Object
	// Ledger is the names of the applied migrations, in order. Checksums has what shopfleet applied under a name
	// (d1.Checksum); files that wrangler applied have none.
	Ledger    []string
	Checksums map[string]string
}

// The ledger is wrangler's own table, written the way wrangler writes it, so that both can be used in turn on one
// database (wire.md §7.2). What it lacks, a checksum, shopfleet keeps in a table of its own beside it.
// ChecksumTable is the name of that table.
const ChecksumTable = "shopfleet_migrations"

// ledgerTables creates wrangler's ledger with wrangler's own columns, and the checksums.
func ledgerTables(table string) string {
	return "CREATE TABLE IF NOT EXISTS " + quoteName(table) + "(\n" +
		"\t\tid         INTEGER PRIMARY KEY AUTOINCREMENT,\n" +
		"\t\tname       TEXT UNIQUE,\n" +
		"\t\tapplied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL\n);\n" +
		"CREATE TABLE IF NOT EXISTS " + quoteName(ChecksumTable) + " (name TEXT PRIMARY KEY, checksum TEXT NOT NULL) WITHOUT ROWID;"
}

func ledgerRows(table string, f wrangler.Migration) string {
	return "INSERT INTO " + quoteName(table) + " (name)\nvalues (" + quoteText(f.Name) + ");\n" +
		"INSERT OR REPLACE INTO " + quoteName(ChecksumTable) + " (name, checksum) VALUES (" + quoteText(f.Name) + ", " + quoteText(d1.Checksum(f.SQL)) + ");"
}

// SeedLedger is the SQL that notes files as applied to a database that holds what they make: a bootstrap ends with it.
func SeedLedger(table string, files []wrangler.Migration) string {
	sql := []string{ledgerTables(table)}
	for _, f := range files {
		sql = append(sql, ledgerRows(table, f))
	}
	return strings.Join(sql, "\n")
}

func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
func quoteText(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// The rows of databaseQuery begin with what they are about.
const (
	objectRow = iota
	ledgerRow
)

const catalogueQuery = "SELECT 0 AS what, rowid AS n, type, name, tbl_name AS tbl, coalesce(sql, '') AS sql FROM sqlite_master" +
	" WHERE name NOT GLOB 'sqlite_*' AND lower(name) NOT GLOB '_cf_*'" // in LIKE an underscore is any character

func ledgerQuery(table string) string {
	return "SELECT 1 AS what, l.id AS n, '' AS type, l.name AS name, '' AS tbl, '' AS sql FROM " + quoteName(table) + " AS l ORDER BY n"
}

// databaseQuery is one SELECT for everything; D1 refuses it while one of the tables is not there yet.
func databaseQuery(table string) string {
	return catalogueQuery + " UNION ALL SELECT 1, l.id, '', l.name, '', coalesce(c.checksum, '') FROM " + quoteName(table) + " AS l LEFT JOIN " +
		quoteName(ChecksumTable) + " AS c ON c.name = l.name ORDER BY what, n"
}

// readDatabase reads a database that has been migrated by shopfleet, in one call. complete is false when it has not: then
// nothing was read, and exploreDatabase knows how.
func readDatabase(ctx context.Context, cf *cloudflare.Client, db wrangler.D1Database) (state Database, complete bool, err error) {
	rows, err := cf.D1Read(ctx, db.DatabaseID, databaseQuery(db.MigrationsTable))
	if err == nil {
		state, err = decodeDatabase(rows)
		return state, err == nil, doing(err, "reading the schema of "+db.DatabaseName)
	}
	if strings.Contains(refusalText(err), "no such table") {
		return Database{}, false, nil
	}
	return Database{}, false, fmt.Errorf("reading the schema and the migration ledger of %s: %w", db.DatabaseName, err)
}

// exploreDatabase reads a database that shopfleet has not migrated yet: empty, or wrangler's so far.
func exploreDatabase(ctx context.Context, cf *cloudflare.Client, db wrangler.D1Database) (Database, error) {
	rows, err := cf.D1Read(ctx, db.DatabaseID, catalogueQuery+" ORDER BY n")
	if err != nil {
		return Database{}, fmt.Errorf("reading the schema of %s: %w", db.DatabaseName, err)
	}
	state, err := decodeDatabase(rows)
	if err != nil {
		return Database{}, fmt.Errorf("reading the schema of %s: %w", db.DatabaseName, err)
	}
	for _, o := range state.Objects {
		if o.Type != "table" || !strings.EqualFold(o.Name, db.MigrationsTable) {
			continue
		}
		rows, err := cf.D1Read(ctx, db.DatabaseID, ledgerQuery(db.MigrationsTable))
		if err != nil {
			return Database{}, fmt.Errorf("reading the migration ledger of %s: %w", db.DatabaseName, err)
		}
		ledger, err := decodeDatabase(rows)
		if err != nil {
			return Database{}, fmt.Errorf("reading the migration ledger of %s: %w", db.DatabaseName, err)
		}
		state.Ledger = ledger.Ledger
	}
	return state, nil
}

// lookAtDatabase reads a database whatever has been done to it so far.
func lookAtDatabase(ctx context.Context, cf *cloudflare.Client, db wrangler.D1Database) (Database, error) {
	state, complete, err := readDatabase(ctx, cf, db)
	if err != nil || complete {
		return state, err
	}
	return exploreDatabase(ctx, cf, db)
}

func decodeDatabase(rows cloudflare.D1Result) (Database, error) {
	var list []struct {
		What                 int
		Type, Name, Tbl, SQL string
	}
	if err := rows.Decode(&list); err != nil {
		return Database{}, err
	}
	state := Database{Checksums: map[string]string{}}
	for _, r := range list {
		switch r.What {
		case objectRow:
			state.Objects = append(state.Objects, d1.Object{Type: r.Type, Name: r.Name, Table: r.Tbl, SQL: r.SQL})
		case ledgerRow:
			state.Ledger = append(state.Ledger, r.Name)
			if r.SQL != "" {
				state.Checksums[r.Name] = r.SQL
			}
		}
	}
	return state, nil
}
