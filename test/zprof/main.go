package main

import (
	"context"
	"fmt"
	"os"
	"runtime/pprof"
	"time"

	"holdfast/internal/cli"
)

func main() {
	f, _ := os.Create(os.Args[1])
	_ = pprof.StartCPUProfile(f)
	t := time.Now()
	code := cli.Main(context.Background(), cli.Process{Args: os.Args[2:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv})
	fmt.Println("took", time.Since(t))
	pprof.StopCPUProfile()
	f.Close()
	os.Exit(code)
}
