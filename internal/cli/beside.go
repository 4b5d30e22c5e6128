package cli

import (
	"os"
	"path/filepath"
)

// guestRecipe is images/guest here, or else beside the program's folder.
func guestRecipe() string {
	const recipe = "images/guest"
	if _, err := os.Stat(filepath.Join(recipe, "recipe.yaml")); err == nil {
		return recipe
	}
	if exe, err := os.Executable(); err == nil {
		return filepath.Join(filepath.Dir(exe), "..", recipe)
	}
	return recipe
}

// redisRecipe is beside guestRecipe.
func redisRecipe() string { return filepath.Join(filepath.Dir(guestRecipe()), "redis") }

// nodeProgram is the holdfast-node that was built together with this program.
func nodeProgram() string {
	exe, err := os.Executable()
	if err != nil {
		return ""
	}
	return filepath.Join(filepath.Dir(exe), "holdfast-node")
}
