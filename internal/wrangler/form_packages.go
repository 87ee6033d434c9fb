package wrangler

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// maxPackages is how many packages wrangler tells Cloudflare about.
const maxPackages = 200

// packageDependencies lists the dependencies in the package.json of dir that are installed, as the metadata has them, or
// nil when there are none. Like wrangler it takes nothing there for an error: the list is for Cloudflare's statistics.
func packageDependencies(dir string, exclude []string) json.RawMessage {
	content, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		return nil
	}
	manifest := map[string]json.RawMessage{}
	for _, m := range members(content) {
		manifest[m.name] = m.value
	}
	var dependencies jsonObject
	for _, key := range []string{"dependencies", "devDependencies"} {
		for _, m := range members(manifest[key]) {
			dependencies.set(m.name, m.value)
		}
	}
	var list []json.RawMessage
	for _, m := range members(dependencies.json()) {
		var wanted string
		if json.Unmarshal(m.value, &wanted) != nil {
			return nil
		}
		local := slices.ContainsFunc([]string{"workspace:", "catalog:", "file:", "link:"}, func(prefix string) bool { return strings.HasPrefix(wanted, prefix) })
		if local || slices.ContainsFunc(exclude, func(pattern string) bool { return matchesPackage(pattern, m.name) }) {
			continue
		}
		installed := installedVersion(dir, m.name)
		if installed == "" {
			continue
		}
		var o jsonObject
		o.set("name", jsonString(m.name))
		o.set("packageJsonVersion", jsonString(wanted))
		o.set("installedVersion", jsonString(installed))
		if list = append(list, o.json()); len(list) == maxPackages {
			break
		}
	}
	if list == nil {
		return nil
	}
	return jsonArray(list)
}

// matchesPackage matches a name against a pattern in which a star stands for anything.
func matchesPackage(pattern, name string) bool {
	expr := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*")
	re, err := regexp.Compile("^(?:" + expr + ")$")
	return err == nil && re.MatchString(name)
}

// installedVersion is the version of the package that code in dir would import, "" when it is not installed.
func installedVersion(dir, name string) string {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return ""
	}
	for {
		content, err := os.ReadFile(filepath.Join(dir, "node_modules", filepath.FromSlash(name), "package.json"))
		if err == nil {
			return members(content).text("version")
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}
