package port

import (
	"net"
	"testing"
)

func TestAPortIsOnePersonsUntilTheTestEnds(t *testing.T) {
	var number int
	t.Run("one test", func(t *testing.T) {
		number = Free(t)
		if again, err := keep(number); again != nil || err != nil {
			t.Errorf("the number that a test has: got %v, %v", again, err)
		}
	})
	again, err := keep(number)
	if again == nil || err != nil {
		t.Fatalf("the number that no test has: got %v, %v", again, err)
	}
	_ = again.Close()
}

func TestAPortAtWhichSomebodyListensIsNotFree(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if quiet(l.Addr().(*net.TCPAddr).Port) {
		t.Error("somebody listens, and it is said to be free")
	}
}
