package sim

import (
	"encoding/json"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// D1 over REST (wire.md §7.3).

func d1Routes() []storageRoute {
	const all, one = "/accounts/{account}/d1/database", "/accounts/{account}/d1/database/{database}"
	return []storageRoute{
		{"GET " + all, (*storage).listDatabases},
		{"POST " + all, (*storage).postDatabase},
		{"GET " + one, onDatabase(true, getDatabase)},
		{"PUT " + one, onDatabase(true, putDatabase)},
		{"PATCH " + one, onDatabase(true, patchDatabase)},
		{"DELETE " + one, onDatabase(true, deleteDatabase)},
		{"POST " + one + "/query", onDatabase(false, queryDatabase)},
		{"POST " + one + "/raw", onDatabase(false, rawDatabase)},
		{"POST " + one + "/import", onDatabase(false, importDatabase)},
		{"POST " + one + "/export", onDatabase(false, exportDatabase)},
		{"GET " + one + "/time_travel/bookmark", onDatabase(false, getBookmark)},
		{"POST " + one + "/time_travel/restore", onDatabase(false, restoreDatabase)},
	}
}

// onDatabase finds the database of the path first. The database itself may be named, what is below it goes by id only.
func onDatabase(byName bool, f func(*storageCall, *database) (any, error)) func(*storage, *storageCall) (any, error) {
	return func(s *storage, c *storageCall) (any, error) {
		id := c.path("database")
		if !byName && !databaseID.MatchString(id) {
			return nil, refuse(http.StatusNotFound, 7404, "The database %s could not be found", id)
		}
		db, err := s.findDatabase(c.account, id)
		if err != nil {
			return nil, err
		}
		return f(c, db)
	}
}

func decodeD1(c *storageCall, v any) error {
	if err := json.Unmarshal(c.body, v); err != nil {
		return refuse(http.StatusBadRequest, 7400, "The request is malformed: %v", err)
	}
	return nil
}

// listDatabases lists the oldest first and leaves sizes out, as the recordings do.
func (s *storage) listDatabases(c *storageCall) (any, error) {
	s.mu.Lock()
	var list []*database
	for _, db := range s.databases {
		if db.account == c.account && strings.Contains(db.name, c.query("name")) {
			list = append(list, db)
		}
	}
	s.mu.Unlock()
	sort.Slice(list, func(i, j int) bool {
		a, b := list[i], list[j]
		if d := a.created.Compare(b.created); d != 0 {
			return d < 0
		}
		return a.name < b.name
	})
	views := make([]map[string]any, len(list))
	for i, db := range list {
		views[i] = map[string]any{
			"uuid": db.id, "name": db.name, "version": "production", "created_at": shortStamp(db.created),
			"num_tables": nil, "file_size": nil, "jurisdiction": nilIfEmpty(db.jurisdiction),
		}
	}
	return paged(c.call, views, 1000, 10_000), nil
}

func nilIfEmpty(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// view is what D1 tells about a database.
func (db *database) view(c *storageCall) (map[string]any, error) {
	size, tables, mode, err := db.measure(c.ctx)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"uuid": db.id, "name": db.name, "created_at": shortStamp(db.created), "version": "production",
		"num_tables": tables, "file_size": size, "running_in_region": db.region,
		"jurisdiction": nilIfEmpty(db.jurisdiction), "read_replication": map[string]any{"mode": mode},
	}, nil
}

var (
	d1Regions       = []string{"", "wnam", "enam", "weur", "eeur", "apac", "oc"}
	d1Jurisdictions = []string{"", "eu", "fedramp", "us"}
)

type replicationMode struct {
	Mode string `json:"mode"`
}

func (r *replicationMode) check() error {
	if r != nil && r.Mode != "auto" && r.Mode != "disabled" {
		return refuse(http.StatusBadRequest, 7400, "Invalid property: read_replication.mode => Must be auto or disabled")
	}
	return nil
}

func (s *storage) postDatabase(c *storageCall) (any, error) {
	var in struct {
		Name         string           `json:"name"`
		Region       string           `json:"primary_location_hint"`
		Jurisdiction string           `json:"jurisdiction"`
		Replication  *replicationMode `json:"read_replication"`
	}
	if err := decodeD1(c, &in); err != nil {
		return nil, err
	}
	o := databaseOptions{Name: in.Name, Region: in.Region, Jurisdiction: in.Jurisdiction}
	switch {
	case !slices.Contains(d1Regions, in.Region):
		return nil, refuse(http.StatusBadRequest, 7400, "Invalid property: primary_location_hint => %s is not a location", in.Region)
	case !slices.Contains(d1Jurisdictions, in.Jurisdiction):
		return nil, refuse(http.StatusBadRequest, 7400, "Invalid property: jurisdiction => %s is not a jurisdiction", in.Jurisdiction)
	}
	if err := in.Replication.check(); err != nil {
		return nil, err
	}
	if in.Replication != nil {
		o.Replication = in.Replication.Mode
	}
	db, err := s.createDatabase(c.account, o)
	if err != nil {
		return nil, err
	}
	view, err := db.view(c)
	if err != nil {
		return nil, err
	}
	view["created_in_region"] = db.region
	return view, nil
}

// getDatabase answers with the fields that are asked for, or all.
func getDatabase(c *storageCall, db *database) (any, error) {
	if c.query("fields") == "" {
		return db.view(c)
	}
	view := map[string]any{"uuid": db.id, "name": db.name}
	fields := strings.Split(c.query("fields"), ",")
	if slices.ContainsFunc(fields, func(f string) bool { return view[f] == nil }) {
		var err error
		if view, err = db.view(c); err != nil {
			return nil, err
		}
	}
	chosen := map[string]any{}
	for _, f := range fields {
		if v, ok := view[f]; ok {
			chosen[f] = v
		}
	}
	return chosen, nil
}

func putDatabase(c *storageCall, db *database) (any, error) {
	return changeDatabase(c, db, true)
}

func patchDatabase(c *storageCall, db *database) (any, error) {
	return changeDatabase(c, db, false)
}

// changeDatabase sets what can be set: read replication.
func changeDatabase(c *storageCall, db *database, required bool) (any, error) {
	var in struct {
		Replication *replicationMode `json:"read_replication"`
	}
	if err := decodeD1(c, &in); err != nil {
		return nil, err
	}
	if in.Replication == nil && required {
		return nil, refuse(http.StatusBadRequest, 7400, "Required property: read_replication")
	}
	if err := in.Replication.check(); err != nil {
		return nil, err
	}
	if in.Replication != nil {
		if err := db.replicate(c.ctx, in.Replication.Mode); err != nil {
			return nil, err
		}
	}
	return db.view(c)
}

func deleteDatabase(c *storageCall, db *database) (any, error) { return nil, db.drop(c.ctx) }

// timestamp reads the time that a call asks for: RFC 3339, or seconds since 1970. nil is none.
func (c *storageCall) timestamp() (*time.Time, error) {
	text := c.query("timestamp")
	if text == "" {
		return nil, nil
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		at := time.Unix(seconds, 0)
		return &at, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, 7400, "Invalid property: timestamp => %q is not a time", text)
	}
	return &at, nil
}

func getBookmark(c *storageCall, db *database) (any, error) {
	at, err := c.timestamp()
	if err != nil {
		return nil, err
	}
	bookmark, err := db.bookmark(c.ctx, at)
	if err != nil {
		return nil, err
	}
	return map[string]any{"bookmark": bookmark}, nil
}

func restoreDatabase(c *storageCall, db *database) (any, error) {
	at, err := c.timestamp()
	if err != nil {
		return nil, err
	}
	bookmark := c.query("bookmark")
	if (bookmark == "") == (at == nil) {
		return nil, refuse(http.StatusBadRequest, 7400, "Required property: either bookmark or timestamp")
	}
	done, err := db.restore(c.ctx, func() (point, error) {
		if at != nil {
			return db.pointAt(c.ctx, at)
		}
		return db.pointOf(c.ctx, bookmark)
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"bookmark": done.bookmark, "previous_bookmark": done.previous, "message": "Restore accepted"}, nil
}
