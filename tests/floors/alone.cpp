// Linked with one whole floor and the floors below it: see CMakeLists.txt here.
int main() { return 0; }
