// Command floor is process 1 of the bare machine that a run is measured
// against: it says that it runs.
package main

import (
	"fmt"
	"time"
)

func main() {
	fmt.Println("floor: init runs")
	time.Sleep(time.Hour)
}
