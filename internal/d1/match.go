package d1

import "context"

// Match is how far a schema has come along a list of migrations.
type Match struct {
	// Applied is how many of the files, from the first one, give the schema; the most, where later ones do not change it.
	// -1 when none does.
	Applied int
	// Nearest is the number of files that comes nearest then, and Differences says what is different.
	Nearest     int
	Differences []string
}

// MatchFiles finds out which files have been applied to a database that keeps no ledger: those whose replay gives its
// schema. leaveOut are tables that no file makes.
func MatchFiles(ctx context.Context, found *Schema, files []Migration, leaveOut ...string) (Match, error) {
	m := Match{Applied: -1}
	db, err := Open("")
	if err != nil {
		return m, err
	}
	defer db.Close()
	want := found.Fingerprint()
	for i := 0; ; i++ {
		s, err := db.Schema(ctx, leaveOut...)
		if err != nil {
			return m, err
		}
		if s.Fingerprint() == want {
			m.Applied = i
		}
		if differences := Compare(s, found); i == 0 || len(differences) <= len(m.Differences) {
			m.Nearest, m.Differences = i, differences
		}
		if i == len(files) {
			return m, nil
		}
		if err := db.shape(ctx, files[i]); err != nil {
			return m, err
		}
	}
}
