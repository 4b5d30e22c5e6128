package peer

import "testing"

func TestBytesThatCameFromAPeerAreCounted(t *testing.T) {
	giving, asking := newSite(t, nil), newSite(t, nil)
	d := giving.put(3<<20, 1)
	asking.join(giving)
	if err := asking.get(d); err != nil {
		t.Fatal(err)
	}
	if got := asking.Traffic(); got.Received < 3<<20 || got.Peers != 1 {
		t.Errorf("got %+v, want 3 MiB from one peer", got)
	}
}
