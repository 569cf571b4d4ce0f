package main

import "testing"

// A set's maker chooses the names of classes; a terminal must not obey them.
func TestClassList(t *testing.T) {
	got := classList([]string{"cat", "great tit", "\x1b[31mred", "b\nict: all is well"})
	if want := `cat great tit "\x1b[31mred" "b\nict: all is well"`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
