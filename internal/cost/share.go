package cost

import (
	"cmp"
	"math"
	"sort"
)

// Share divides a bill among users in proportion to what they used. The parts come to the bill exactly: what rounding
// leaves goes in millionths to those whose parts were cut most, in the order of the list where that is equal. Who used
// nothing pays nothing; nobody who used more pays less.
func Share(bill USD, used []float64) []USD {
	parts := make([]USD, len(used))
	total := 0.0
	for _, u := range used {
		total += max(0, u)
	}
	if bill <= 0 || total <= 0 {
		return parts
	}
	type rest struct {
		at   int
		left float64
	}
	var rests []rest
	given := USD(0)
	for i, u := range used {
		if u <= 0 {
			continue
		}
		exact := float64(bill) * (u / total)
		parts[i] = USD(math.Floor(exact))
		given += parts[i]
		rests = append(rests, rest{i, exact - math.Floor(exact)})
	}
	// By what was cut, and then by use: of two with equal parts the one that used more is not passed over.
	sort.SliceStable(rests, func(i, j int) bool {
		return cmp.Or(cmp.Compare(rests[j].left, rests[i].left), cmp.Compare(used[rests[j].at], used[rests[i].at])) < 0
	})
	for i := 0; given < bill; i = (i + 1) % len(rests) {
		parts[rests[i].at]++
		given++
	}
	for i := len(rests) - 1; given > bill; i-- { // sums of large floats may come out above
		parts[rests[i].at]--
		given--
	}
	return parts
}
