// SPDX-License-Identifier: Apache-2.0
extern "C" void run_chain();
int main() { run_chain(); }
