package deploy

import (
	"strings"
	"testing"
)

func FuzzMemo(f *testing.F) {
	mark := markOf([]byte("x"))
	f.Add(memo{mark, listDigest(nil), "-", "", "", "abc", "", "", ""}.String())
	f.Add(memo{mark, listDigest(nil), "-", listDigest(nil) + "+", listDigest(nil), "abc", "00000001-00000000-00004f1b-93695ef27bef303fac44de75060cda7c", "134ea8a4-8582-4fdc-84ec-f0eb8f4e4b60", "123"}.String())
	f.Add("shopfleet content=" + mark)
	f.Add("Rollback")
	f.Add("shopfleet content=sf-zz secrets= reach= commit=")
	f.Fuzz(func(t *testing.T, text string) {
		m, ok := parseMemo(text)
		if ok && m.String() != text {
			t.Errorf("%q is taken for %q", text, m)
		}
		if ok && !isMark(m.mark) {
			t.Errorf("%q has mark %q", text, m.mark)
		}
	})
}

func TestMemo(t *testing.T) {
	for _, bookmark := range []string{"", "00000001-00000000-00004f1b-93695ef27bef303fac44de75060cda7c"} {
		m := memo{markOf([]byte("a"), []byte("b")), listDigest([]string{"B", "A"}), notRecorded, "", "", strings.Repeat("0", 40), bookmark, "", ""}
		if bookmark != "" {
			m.values = listDigest([]string{"A=0011223344556677"})
			m.from, m.order = "134ea8a4-8582-4fdc-84ec-f0eb8f4e4b60", strings.Repeat("9", maxOrder)
		}
		got, ok := parseMemo(m.String())
		if !ok || got != m {
			t.Errorf("parsed %+v, %t; want %+v", got, ok, m)
		}
		if len(m.String()) > 1000 || len(m.mark) > 100 {
			t.Errorf("message of %d and mark of %d bytes do not fit Cloudflare's 1,000 and 100", len(m.String()), len(m.mark))
		}
	}
	if markOf([]byte("ab"), []byte("c")) == markOf([]byte("a"), []byte("bc")) {
		t.Error("parts that only join to the same text have one mark")
	}
	if listDigest([]string{"A", "B"}) != listDigest([]string{"B", "A"}) {
		t.Error("the order of required secrets matters")
	}
}
