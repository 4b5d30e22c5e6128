// Package machine starts, watches and stops machines: whatever boots a
// machine image.
//
// A machine is judged from outside, and believed in nothing: its console, its
// control channel and its end are read with bounds, and become one Outcome
// that says in plain words how its life ended. Machines live below one folder
// each and never outlive the program that started them.
package machine
