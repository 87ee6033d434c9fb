package main

import (
	"bytes"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// The age keys of scripts, made for them and used nowhere else. The recipient in the scripts belongs to the first.
const (
	scriptIdentity = "AGE-SECRET-KEY-1CDP2G6MN94R6QPLZMWT3KRRC6ZSRQ7Q7X6K3UAHJ7W2TY2GZEQCSYEFYER"
	otherIdentity  = "AGE-SECRET-KEY-19S52JKHG96C6VKMUKK889JMV3YXHT4AFXVMFDMD0F9X99AWFS5KSQNZQXD"
)

// cmdCarried requires that the last upload of a Worker has a secret of this name and value, or with ! that it has not.
func cmdCarried(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] carried NAME VALUE")
	}
	var last []byte
	for _, r := range scriptWorld(ts).Requests() {
		if strings.Contains(r.Path, "/workers/scripts/") && (r.Method == "POST" && strings.HasSuffix(r.Path, "/versions") || r.Method == "PUT" && bytes.Contains(r.Body, []byte("main_module"))) {
			last = r.Body
		}
	}
	if last == nil {
		ts.Fatalf("nothing was uploaded since the requests were forgotten")
	}
	has := bytes.Contains(last, []byte(`{"name":"`+args[0]+`","type":"secret_text","text":"`+args[1]+`"}`))
	if has == neg {
		ts.Fatalf("the upload carries %s with that value: %t", args[0], has)
	}
}
