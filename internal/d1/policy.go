package d1

import (
	"strconv"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// D1's limits, as its engine enforces them (feasibility.md §5). A statement over one of them fails with SQLITE_TOOBIG or
// SQLITE_ERROR and SQLite's own words.
const (
	MaxStatementBytes  = 100_000
	MaxColumns         = 100 // of a table, an index, a result
	MaxParameters      = 100
	MaxExpressionDepth = 100
	MaxCompoundSelects = 5 // terms of a UNION
	MaxFunctionArgs    = 127
	MaxLikeBytes       = 50 // of a LIKE or GLOB pattern
	MaxTriggerDepth    = 10
	// MaxValueBytes bounds a string, a blob and a row. The engine stops here; Cloudflare's documentation promises no
	// more than 2,000,000.
	MaxValueBytes = 8_388_642
)

var engineLimits = map[sqlite3.LimitCategory]int{
	sqlite3.LIMIT_LENGTH:              MaxValueBytes,
	sqlite3.LIMIT_SQL_LENGTH:          MaxStatementBytes,
	sqlite3.LIMIT_COLUMN:              MaxColumns,
	sqlite3.LIMIT_EXPR_DEPTH:          MaxExpressionDepth,
	sqlite3.LIMIT_COMPOUND_SELECT:     MaxCompoundSelects,
	sqlite3.LIMIT_FUNCTION_ARG:        MaxFunctionArgs,
	sqlite3.LIMIT_ATTACHED:            0,
	sqlite3.LIMIT_LIKE_PATTERN_LENGTH: MaxLikeBytes,
	sqlite3.LIMIT_VARIABLE_NUMBER:     MaxParameters,
	sqlite3.LIMIT_TRIGGER_DEPTH:       MaxTriggerDepth,
	sqlite3.LIMIT_WORKER_THREADS:      0,
}

// allowedFunctions are the SQL functions that D1 knows or lets through; load_extension is let through and refused by
// SQLite itself.
var allowedFunctions = words(`
	abs changes char coalesce concat concat_ws format glob hex ifnull iif instr last_insert_rowid length like likelihood
	likely load_extension lower ltrim max_scalar min_scalar nullif octet_length printf quote random randomblob replace
	round rtrim sign substr substring total_changes trim typeof unhex unicode unlikely upper zeroblob
	date time datetime julianday unixepoch strftime timediff current_date current_time current_timestamp
	avg count group_concat max min string_agg sum total
	row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
	acos acosh asin asinh atan atan2 atanh ceil cos cosh degrees exp floor ln log log2 mod pi pow radians sin sinh sqrt
	tan tanh trunc
	json jsonb json_array jsonb_array json_array_length json_extract jsonb_extract -> ->> json_insert jsonb_insert
	json_object jsonb_object json_patch jsonb_patch json_remove jsonb_remove json_replace jsonb_replace json_set jsonb_set
	json_type json_valid json_quote json_group_array jsonb_group_array json_group_object jsonb_group_object
	json_each json_tree
	match highlight bm25 snippet rtreecheck
	sqlite_rename_column sqlite_rename_table sqlite_rename_test sqlite_drop_column sqlite_rename_quotefix`)

// absentFunctions are compiled into our SQLite and not into D1's: D1 does not know them, rather than forbid them.
var absentFunctions = words(`
	base64 decimal decimal_add decimal_cmp decimal_exp decimal_mul decimal_pow2 decimal_sub decimal_sum
	geopoly_area geopoly_bbox geopoly_blob geopoly_ccw geopoly_contains_point geopoly_debug geopoly_group_bbox geopoly_json
	geopoly_overlap geopoly_regular geopoly_svg geopoly_within geopoly_xform
	ieee754 ieee754_exponent ieee754_from_blob ieee754_from_int ieee754_inc ieee754_mantissa ieee754_to_blob ieee754_to_int
	regexp regexpi soundex`)

// allowedModules are the virtual tables that D1 lets create.
var allowedModules = words("fts5 fts5vocab rtree rtree_i32")

// pragmaArgument is what D1 accepts behind the name of a PRAGMA.
type pragmaArgument int

const (
	anyArgument pragmaArgument = iota + 1
	objectArgument
	optionalObject
	noArgument
	optionalBoolean
	optionalObjectOrCount
	optionalNumber
)

var allowedPragmas = map[string]pragmaArgument{
	"table_list": anyArgument,
	"table_info": objectArgument, "table_xinfo": objectArgument, "foreign_key_list": objectArgument,
	"index_info": objectArgument, "index_list": objectArgument, "index_xinfo": objectArgument,
	"foreign_key_check": optionalObject,
	"data_version":      noArgument, "page_size": noArgument,
	"case_sensitive_like": optionalBoolean, "foreign_keys": optionalBoolean, "defer_foreign_keys": optionalBoolean,
	"ignore_check_constraints": optionalBoolean, "legacy_alter_table": optionalBoolean,
	"recursive_triggers": optionalBoolean, "reverse_unordered_selects": optionalBoolean,
	"quick_check": optionalObjectOrCount,
	"optimize":    optionalNumber,
}

func words(list string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(list) {
		m[w] = true
	}
	return m
}

// reserved names belong to the engine: D1 hides them and lets nobody make them.
func reserved(name string) bool {
	return len(name) >= 4 && strings.EqualFold(name[:4], "_cf_")
}

// allowed is D1's authorizer: what SQLite asks about while it compiles a statement (sqlite3_set_authorizer explains the
// arguments).
func allowed(action sqlite3.AuthorizerActionCode, arg1, arg2, schema string) bool {
	if action == sqlite3.AUTH_ALTER_TABLE {
		schema, arg1, arg2 = arg1, arg2, ""
	}
	if schema == "temp" {
		// ALTER TABLE looks for temporary triggers and views; nobody can have any.
		switch action {
		case sqlite3.AUTH_READ, sqlite3.AUTH_UPDATE, sqlite3.AUTH_SELECT, sqlite3.AUTH_INSERT, sqlite3.AUTH_DELETE:
			return arg1 == "sqlite_temp_master" || arg1 == "sqlite_temp_schema"
		case sqlite3.AUTH_FUNCTION:
			return allowedFunctions[strings.ToLower(arg2)]
		}
		return false
	}
	if schema != "" && schema != "main" {
		return false
	}
	switch action {
	case sqlite3.AUTH_SELECT, sqlite3.AUTH_RECURSIVE, sqlite3.AUTH_ANALYZE:
		return true
	case sqlite3.AUTH_CREATE_TABLE, sqlite3.AUTH_DROP_TABLE, sqlite3.AUTH_ALTER_TABLE, sqlite3.AUTH_CREATE_VIEW, sqlite3.AUTH_DROP_VIEW,
		sqlite3.AUTH_INSERT, sqlite3.AUTH_UPDATE, sqlite3.AUTH_DELETE, sqlite3.AUTH_READ, sqlite3.AUTH_REINDEX:
		return !reserved(arg1)
	case sqlite3.AUTH_CREATE_INDEX, sqlite3.AUTH_DROP_INDEX, sqlite3.AUTH_CREATE_TRIGGER, sqlite3.AUTH_DROP_TRIGGER:
		return !reserved(arg1) && !reserved(arg2)
	case sqlite3.AUTH_FUNCTION:
		return allowedFunctions[strings.ToLower(arg2)]
	case sqlite3.AUTH_CREATE_VTABLE, sqlite3.AUTH_DROP_VTABLE:
		return allowedModules[strings.ToLower(arg2)] && !reserved(arg1)
	case sqlite3.AUTH_PRAGMA:
		return allowedPragma(strings.ToLower(arg1), arg2)
	}
	return false // transactions, savepoints, ATTACH, DETACH, anything temporary
}

func allowedPragma(name, argument string) bool {
	switch allowedPragmas[name] {
	case anyArgument:
		return true
	case objectArgument:
		return argument != "" && !reserved(argument)
	case optionalObject:
		return !reserved(argument)
	case noArgument:
		return argument == ""
	case optionalBoolean:
		return argument == "" || booleanLike(argument)
	case optionalObjectOrCount:
		if _, err := strconv.ParseUint(argument, 10, 32); err == nil {
			return true
		}
		return !reserved(argument)
	case optionalNumber:
		_, err := strconv.ParseInt(argument, 0, 32)
		return argument == "" || err == nil
	}
	return false
}

// booleanLike is how the engine reads a boolean: by prefix, quotes or not.
func booleanLike(v string) bool {
	if n := len(v); n >= 2 && (v[0] == '\'' || v[0] == '"') && v[n-1] == v[0] {
		v = v[1 : n-1]
	}
	v = strings.ToLower(v)
	for _, prefix := range []string{"true", "false", "yes", "no", "on", "off", "1", "0"} {
		if strings.HasPrefix(v, prefix) {
			return true
		}
	}
	return false
}
