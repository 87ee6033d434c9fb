package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/kvick/shopfleet/internal/sim"
)

// costs measures what a fleet costs: 500 shops on ten accounts that were used for thirty days. How many calls it makes is not
// measured but required: seven of each account.
func (b *bench) costs() ([]figure, error) {
	a, err := b.fleetOfAccounts()
	if err != nil {
		return nil, err
	}
	defer a.close()
	for i := range auditedAccounts {
		var list []sim.Usage
		for j := range auditedShops {
			n := i*auditedShops + j
			db, kv := shopIDs(n)
			for d := range 30 {
				at := time.Now().AddDate(0, 0, -d)
				list = append(list,
					sim.Usage{At: at, Worker: fmt.Sprintf("helm-shop-%03d", n), Requests: 50_000, CPU: sim.Duration(100 * time.Second), Database: db, RowsRead: 500_000, RowsWritten: 10_000, DatabaseBytes: 100e6},
					sim.Usage{At: at, Bucket: fmt.Sprintf("helm-shop-%03d-assets", n), Actions: map[string]int64{"GetObject": 4500, "PutObject": 500}, Keys: 1000, Bytes: 5e9},
					sim.Usage{At: at, Namespace: kv, Actions: map[string]int64{"read": 1000}, Keys: 10, Bytes: 1000})
			}
		}
		if err := a.world.Plant(fmt.Sprintf("%032x", 0xa00+i), list...); err != nil {
			return nil, err
		}
	}
	var took []float64
	for range runs {
		out, err := os.CreateTemp(b.dir, "cost-")
		if err != nil {
			return nil, err
		}
		defer out.Close()
		a.world.ForgetRequests()
		wall, _, err := b.time(a.repo.Dir, a.env, "sh", "-c", `"$0" cost --json --html "$1.html" > "$1"`, b.program, out.Name())
		if err != nil {
			text, _ := os.ReadFile(out.Name())
			return nil, fmt.Errorf("%w\n%.4000s", err, text)
		}
		took = append(took, wall.Seconds())
		text, err := os.ReadFile(out.Name())
		if err != nil {
			return nil, err
		}
		var page struct {
			Exit     int `json:"exit_code"`
			Shops    []struct{ Total float64 }
			Accounts []struct{ Calls int }
		}
		if err := json.Unmarshal(text, &page); err != nil {
			return nil, err
		}
		if n := len(a.world.Requests()); page.Exit != 0 || len(page.Shops) != auditedAccounts*auditedShops || page.Shops[0].Total < 0.3 || n != 7*auditedAccounts {
			return nil, fmt.Errorf("cost exits with %d and speaks of %d shops in %d calls", page.Exit, len(page.Shops), n)
		}
	}
	fmt.Fprintf(os.Stderr, "cost-500: %d calls in all\n", len(a.world.Requests()))
	return []figure{{"cost-500", median(took), "s", "<= 5"}}, nil
}
