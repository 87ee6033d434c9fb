package fleet

// The rules: the names under which findings are reported, in order of appearance. They are part of the tool's contract:
// a name keeps its meaning, people filter by it.
const (
	// The file as a whole.
	ruleTooLarge          = "too-large"          // more than 512 KiB
	ruleEncoding          = "encoding"           // not UTF-8
	ruleControlCharacter  = "control-character"  // an invisible character that editors and YAML read differently
	ruleSyntax            = "yaml-syntax"        // not YAML
	ruleTab               = "tab-indentation"    // YAML indents with blanks only
	ruleEmptyFile         = "empty-file"         // nothing but blanks and comments
	ruleMultipleDocuments = "multiple-documents" // "---" begins another document, which nobody would read
	ruleAnchor            = "yaml-anchor"        // &anchor or *alias: a reader could not see in a line what holds there
	ruleMergeKey          = "yaml-merge-key"     // <<, for the same reason
	ruleTag               = "yaml-tag"           // !!str and its like

	// Keys and types.
	ruleUnknownKey   = "unknown-key"
	ruleDuplicateKey = "duplicate-key"
	ruleBadKey       = "bad-key" // a key that is not a plain word
	ruleMissingKey   = "missing-key"
	ruleWrongType    = "wrong-type"
	ruleDuration     = "duration"     // not a Go duration, or outside the useful range
	ruleEmpty        = "empty"        // a list or mapping that must hold something holds nothing
	ruleDuplicate    = "duplicate"    // the same value twice where it has to be unique
	ruleOutOfRange   = "out-of-range" // a number

	ruleMoment = "date-time" // not a date and time with its offset
	ruleFreeze = "freeze"    // a freeze that does not say when it is

	// Secrets.
	ruleUnknownSecret = "secret-unknown"   // about: a name that is neither required nor optional
	ruleSecretFormat  = "secret-format"    // not a regular expression
	ruleRecipient     = "secret-recipient" // not an age public key

	// Names.
	ruleProduct      = "product-name"
	ruleSlug         = "slug"          // not a DNS label
	ruleReservedSlug = "slug-reserved" // a word that already means something else
	rulePattern      = "naming-pattern"
	ruleBadName      = "name"          // characters or shape that Cloudflare or git refuses
	ruleLongName     = "name-too-long" // more than Cloudflare or git takes
	ruleTakenName    = "name-taken"    // two shops, one name
	ruleSecretName   = "secret-name"
	ruleColumnName   = "column-name"

	// Accounts and hostnames.
	ruleAccountName    = "account-name"
	ruleAccountID      = "account-id"
	ruleUnknownAccount = "account-unknown"
	ruleFullAccount    = "account-full" // more shops pinned to it than max_shops
	ruleDatabaseID     = "database-id"
	ruleRegion         = "region"
	ruleToken          = "token-variable"
	ruleZone           = "zone"
	ruleOutsideZone    = "hostname-outside-zone"
	ruleTooDeep        = "hostname-too-deep" // the universal certificate covers one label under the zone
	rulePublicSite     = "public-site"       // shares a domain, and so its cookies, with a shop

	// What may be bound.
	ruleBindingType = "binding-type"   // not a type of binding that reaches something with a name
	ruleOthersWide  = "naming-overlap" // two naming rules of one type could give two shops one name
	ruleReason      = "shared-reason"  // a shared thing without a reason that says something
	ruleSharedOwned = "shared-is-a-shops"

	// Paths and requests.
	ruleOverlayKey  = "overlay-key" // a key of wrangler.jsonc that changes code or its build, or none
	ruleChoice      = "choice"      // not one of the words that are possible here
	ruleOverlayPath = "overlay-path"
	ruleOverlayWide = "overlay-too-wide"
	rulePath        = "path"
	ruleURLPath     = "url-path"
)
